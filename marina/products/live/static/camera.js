// Landmarks of the camera's pictures, found in this browser: MediaPipe's HolisticLandmarker on the CPU. Nothing is sent.

const PARTS = [["poseLandmarks", 33], ["leftHandLandmarks", 21], ["rightHandLandmarks", 21]];
const ASSETS = "/live/assets";
let landmarker = null;

async function load() {
  const { HolisticLandmarker } = await import(`${ASSETS}/vision_bundle.mjs`);
  return HolisticLandmarker.createFromOptions(
    { wasmLoaderPath: `${ASSETS}/vision_wasm_internal.js`, wasmBinaryPath: `${ASSETS}/vision_wasm_internal.wasm` },
    { baseOptions: { modelAssetPath: `${ASSETS}/holistic.task`, delegate: "CPU" }, runningMode: "VIDEO" },
  );
}

function flatten(found) {
  const values = new Float32Array(225);
  let at = 0;
  for (const [name, points] of PARTS) {
    const part = found[name]?.[0];
    for (let point = 0; point < points; point++, at += 3) {
      if (part && part[point]) values.set([part[point].x, part[point].y, part[point].z], at);
    }
  }
  return values;
}

// Calls `seen(values)` for each picture until the function that is returned is called.
export async function watch(video, seen) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, frameRate: 30 } });
  try {
    landmarker ??= await load();
  } catch (error) {
    stream.getTracks().forEach((track) => track.stop());
    throw error;
  }
  video.srcObject = stream;
  await video.play();
  let going = true;
  let shown = -1;
  const step = () => {
    if (!going) return;
    if (video.currentTime !== shown) {
      shown = video.currentTime;
      seen(flatten(landmarker.detectForVideo(video, performance.now())));
    }
    setTimeout(step, 1);
  };
  step();
  return () => {
    going = false;
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
}
