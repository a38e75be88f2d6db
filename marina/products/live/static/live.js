// The page: what is pressed, what is drawn, what is told.
import { Stream, WIDTH, unhalf } from "./wire.js";
import { takes } from "./takes.js";
import { watch } from "./camera.js";

const PER_SECOND = 30;
const LOGGED = 8;
const at = (id) => document.getElementById(id);
const canvas = at("picture");
const pen = canvas.getContext("2d");
let status = null;
let stream = null;
let stopSource = null;
let teaching = null;
let frames = 0;

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function fill(list, lines) {
  list.replaceChildren(...lines.map((line) => {
    const item = document.createElement("li");
    item.textContent = line;
    return item;
  }));
}

function draw(values, video) {
  const { width, height } = canvas;
  pen.save();
  pen.clearRect(0, 0, width, height);
  if (at("mirrored").checked) {
    pen.translate(width, 0);
    pen.scale(-1, 1);
  }
  if (video && at("pictured").checked) pen.drawImage(video, 0, 0, width, height);
  const there = (point) => values[3 * point] !== 0 || values[3 * point + 1] !== 0;
  pen.lineWidth = 2;
  for (const [from, to] of status.edges) {
    if (!there(from) || !there(to)) continue;
    pen.strokeStyle = from >= 54 ? "#ffb454" : from >= 33 ? "#59c2ff" : "#cccccc";
    pen.beginPath();
    pen.moveTo(values[3 * from] * width, values[3 * from + 1] * height);
    pen.lineTo(values[3 * to] * width, values[3 * to + 1] * height);
    pen.stroke();
  }
  pen.restore();
}

function seen(values, video) {
  frames += 1;
  stream?.frame(values);
  draw(values, video);
}

function showTakes() {
  const signs = Object.entries(takes.all().prototypes);
  fill(at("takes"), signs.map(([sign, vectors]) => `${sign}: ${vectors.length}`));
}

// Offers the names that the model has used so far where a sign's name is to be written.
function guess(predictions) {
  fill(at("guesses"), predictions.map((one) => `${one.label} ${percent(one.probability)}`));
  for (const { label } of predictions) {
    if ([...at("known").options].some((option) => option.value === label)) continue;
    const option = document.createElement("option");
    option.value = label;
    at("known").append(option);
  }
}

function answer(message) {
  const sign = message.sign;
  const best = message.predictions[0];
  at("sign").textContent = sign ?? (best ? `Not sure (perhaps ${best.label})` : "No answer");
  at("sign").dataset.sign = sign ?? "";
  at("sign").dataset.number = message.number;
  at("latency").textContent = `${Math.round(message.ms)} ms`;
  at("version").textContent = message.version ?? "–";
  guess(message.predictions);
  const line = document.createElement("li");
  line.textContent = sign ? `${sign} (${percent(message.probability)})` : "not sure";
  at("log").prepend(line);
  while (at("log").children.length > LOGGED) at("log").lastChild.remove();
  if (teaching && message.embedding) {
    takes.add(teaching, message.embedding);
    at("taking").textContent = `A take of ${teaching} is kept, and counts from now on.`;
    teaching = null;
    stream.say({ type: "embed", on: false });
    stream.say(takes.message());
    showTakes();
  }
}

function told(message) {
  if (message.type === "link") {
    if (message.up) {
      at("notice").textContent = message.resumed ? "Connected again; nothing was lost." : "";
      at("teach").disabled = false;
      if (Object.keys(takes.all().prototypes).length) stream.say(takes.message());
      if (teaching) stream.say({ type: "embed", on: true });
    } else {
      at("state").textContent = "not connected";
      at("state").dataset.state = "OFF";
      if (message.code === 4401) at("access").hidden = false;
      if (message.over) stop(message.why ? `Ended: ${message.why}.` : "");
      else at("notice").textContent = `${message.why || "The connection was lost"}. Trying again …`;
    }
  } else if (message.type === "state") {
    at("state").textContent = message.state.toLowerCase();
    at("state").dataset.state = message.state;
  } else if (message.type === "guess") {
    guess(message.predictions);
  } else if (message.type === "answer") {
    answer(message);
  } else if (message.type === "error") {
    at("notice").textContent = message.message;
    if (message.code === "other_version") {
      takes.forget();
      showTakes();
      at("taking").textContent = "Another version answers now: record your takes again.";
    }
  }
}

function running(on) {
  at("stop").disabled = !on;
  at("demo").disabled = on;
  at("camera").disabled = on || !status.camera;
  if (!on) at("teach").disabled = true;
}

function stop(why = "") {
  stopSource?.();
  stopSource = null;
  const ending = stream;
  stream = null;
  if (ending && !ending.ended) ending.end();
  running(false);
  at("state").textContent = "not connected";
  at("state").dataset.state = "OFF";
  if (why) at("notice").textContent = why;
}

async function playDemo() {
  const answered = await fetch("/live/demo");
  if (!answered.ok) throw new Error((await answered.json()).error.message);
  const halves = new Uint16Array(await answered.arrayBuffer());
  const count = halves.length / WIDTH;
  let place = 0;
  const begun = performance.now();
  const timer = setInterval(() => {
    for (; place < ((performance.now() - begun) * PER_SECOND) / 1000; place++) {
      const from = (place % count) * WIDTH;
      seen(Float32Array.from(halves.subarray(from, from + WIDTH), unhalf), null);
    }
  }, 1000 / PER_SECOND);
  return () => clearInterval(timer);
}

async function start(source) {
  running(true);
  at("notice").textContent = "";
  const own = new Stream((message) => { if (own === stream) told(message); }, at("token").value);
  stream = own;
  try {
    stopSource = await source();
    if (!stream) stop();
  } catch (error) {
    stop(`It could not begin: ${error.message ?? error}`);
  }
}

at("camera").addEventListener("click", () => {
  const video = at("video");
  at("notice").textContent = "Loading what finds landmarks; the first time takes a few seconds.";
  start(() => watch(video, (values) => seen(values, video)));
});
at("demo").addEventListener("click", () => start(playDemo));
at("stop").addEventListener("click", () => stop());
at("access").addEventListener("submit", (event) => event.preventDefault());
at("teaching").addEventListener("submit", (event) => {
  event.preventDefault();
  teaching = at("taught").value.trim();
  if (!teaching || !stream) return;
  stream.say({ type: "embed", on: true });
  at("taking").textContent = `Make the sign ${teaching} now, and let your hands rest after it.`;
});
at("forget").addEventListener("click", () => {
  takes.forget();
  stream?.say(takes.message());
  showTakes();
  at("taking").textContent = "All takes are forgotten.";
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && stream) stop();
});
setInterval(() => {
  at("rate").textContent = stream ? String(frames) : "–";
  frames = 0;
}, 1000);

async function begin() {
  status = await (await fetch("/live/status")).json();
  at("access").hidden = !status.token;
  fill(at("takes"), []);
  showTakes();
  if (!status.camera) {
    at("notice").textContent = "This server has no landmark models for the camera (its operator fetches them: make " +
      "live-assets). The demo plays a recorded stream instead.";
  } else if (!navigator.mediaDevices) {
    status.camera = false;
    at("notice").textContent = "This browser gives no camera here (it needs https:// or localhost). The demo plays a " +
      "recorded stream instead.";
  }
  running(false);
}
begin();
