// A person's own takes: embeddings by sign, of one version, kept in this browser.

const KEY = "marina-live-takes";
const MOST = 3;

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    if (kept && typeof kept.calibration_of === "string" && typeof kept.prototypes === "object") return kept;
  } catch { /* another program's, or damaged: as good as none */ }
  return { calibration_of: "", prototypes: {} };
}

export const takes = {
  all: read,
  add(sign, embedding) {
    const kept = read();
    if (kept.calibration_of !== embedding.calibration_of) kept.prototypes = {};
    kept.calibration_of = embedding.calibration_of;
    kept.prototypes[sign] = [...(kept.prototypes[sign] ?? []), embedding.vector].slice(-MOST);
    localStorage.setItem(KEY, JSON.stringify(kept));
  },
  forget() {
    localStorage.removeItem(KEY);
  },
  message() {
    const kept = read();
    return { type: "calibrate", calibration_of: kept.calibration_of, prototypes: kept.prototypes };
  },
};
