// Frames as they travel (marina/products/live/frames.py), and a connection that comes back and continues.

export const WIDTH = 225;
const BYTES = 12 + 2 * WIDTH;
const KEPT = 90; // frames that are sent again after a reconnection: three seconds
const AGAIN_MS = [250, 500, 1000, 2000, 4000];
const FINAL = { 4401: true, 4409: true, 1008: true, 1000: true };

const number = new Float32Array(1);
const bits = new Uint32Array(number.buffer);

// The nearest float16 of a number; what is too large becomes infinite, which the server refuses.
export function half(value) {
  number[0] = value;
  const x = bits[0];
  const sign = (x >>> 16) & 0x8000;
  const exponent = ((x >>> 23) & 0xff) - 112;
  const mantissa = x & 0x7fffff;
  if (exponent >= 31) return sign | (Number.isNaN(value) ? 0x7e00 : 0x7c00);
  if (exponent <= 0) {
    if (exponent < -10) return sign;
    return sign | (((mantissa | 0x800000) + (1 << (13 - exponent))) >>> (14 - exponent));
  }
  return sign | (((exponent << 10) | (mantissa >>> 13)) + ((mantissa >>> 12) & 1));
}

export function unhalf(x) {
  const sign = x & 0x8000 ? -1 : 1;
  const exponent = (x >>> 10) & 31;
  const mantissa = x & 1023;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + mantissa / 1024) : 2 ** -14 * (mantissa / 1024));
}

export function pack(place, milliseconds, values) {
  const view = new DataView(new ArrayBuffer(BYTES));
  view.setUint32(0, place, true);
  view.setFloat64(4, milliseconds, true);
  for (let at = 0; at < WIDTH; at++) view.setUint16(12 + 2 * at, half(values[at]), true);
  return view.buffer;
}

// Calls `told` with each message of the server, and with {type: "link", up, why} as the connection comes and goes.
export class Stream {
  constructor(told, token) {
    this.told = told;
    this.token = token;
    this.session = null;
    this.answers = 0;
    this.place = 0;
    this.kept = [];
    this.tries = 0;
    this.ended = false;
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/live/stream`);
    this.socket.binaryType = "arraybuffer";
    this.ready = false;
    this.socket.onopen = () => {
      const hello = { type: "hello", answers: this.answers };
      if (this.session) hello.session = this.session;
      if (this.token) hello.token = this.token;
      this.socket.send(JSON.stringify(hello));
    };
    this.socket.onmessage = (event) => this.hear(JSON.parse(event.data));
    this.socket.onclose = (event) => this.lost(event);
  }

  hear(message) {
    if (message.type === "welcome") {
      this.session = message.session;
      if (!message.resumed) this.answers = 0;
      this.ready = true;
      this.tries = 0;
      for (const one of this.kept) if (one.place > message.received) this.socket.send(one.data);
      this.told({ type: "link", up: true, resumed: message.resumed });
    } else if (message.type === "received") {
      this.kept = this.kept.filter((one) => one.place > message.frame);
    } else if (message.type === "answer") {
      this.answers = message.number;
    }
    this.told(message);
  }

  lost(event) {
    this.ready = false;
    const over = this.ended || FINAL[event.code];
    this.told({ type: "link", up: false, over, code: event.code, why: event.reason });
    if (over) return;
    const pause = AGAIN_MS[Math.min(this.tries++, AGAIN_MS.length - 1)];
    setTimeout(() => { if (!this.ended) this.connect(); }, event.code === 1013 ? 10000 : pause);
  }

  frame(values) {
    const data = pack(this.place, performance.now(), values);
    this.kept.push({ place: this.place, data });
    if (this.kept.length > KEPT) this.kept.shift();
    this.place += 1;
    if (this.ready && this.socket.readyState === WebSocket.OPEN) this.socket.send(data);
  }

  say(message) {
    if (this.ready && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  end() {
    this.ended = true;
    this.say({ type: "bye" });
    this.socket.close();
  }
}
