"use strict";
// Everything shown goes through textContent: sensor names are chosen by whoever publishes.
const EVERY_MS = 2000;
const by = (id) => document.getElementById(id);

function number(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(3)));
}
function when(t) {
  return typeof t === "number" ? new Date(t * 1000).toISOString().replace("T", " ").slice(0, 19) + "Z" : "";
}
function rows(id, list, empty) {
  const body = by(id);
  const width = body.parentElement.querySelectorAll("th").length;
  const made = list.map((cells) => {
    const row = document.createElement("tr");
    for (const cell of cells) row.appendChild(document.createElement("td")).textContent = number(cell);
    return row;
  });
  if (!made.length) {
    const row = document.createElement("tr");
    const cell = row.appendChild(document.createElement("td"));
    cell.colSpan = width;
    cell.className = "none";
    cell.textContent = empty;
    made.push(row);
  }
  body.replaceChildren(...made);
}
function verdict(text, kind, reasons) {
  by("state").textContent = text;
  by("state").className = kind;
  by("reasons").replaceChildren(...reasons.map((reason) => {
    const item = document.createElement("li");
    item.textContent = reason;
    return item;
  }));
}
function why(row) {
  const known = row.need !== null && row.need !== undefined;
  return row.reason || (known ? `${row.have} of ${row.need}` : "");
}
function runsOn(model) {
  const name = (model.provider ?? "").replace("ExecutionProvider", "");
  return model.fallback ? `${name}: ${model.fallback}` : name;
}
function sum(counts) {
  return counts ? Object.values(counts).reduce((total, n) => total + n, 0) : null;
}
function show(status) {
  const degraded = status.degraded ?? [];
  if (!status.live) verdict("not live", "bad", status.reasons);
  else if (!status.ready) verdict("not ready", "bad", [...status.reasons, ...degraded]);
  else if (degraded.length) verdict("degraded", "warn", degraded);
  else verdict("ready", "good", []);
  const models = new Map((status.models ?? []).map((model) => [model.stream, model]));
  by("alarm-count").textContent = status.alarms_active ? `(${status.alarms_active})` : "";
  rows("alarms", status.alarms.map((a) =>
    [when(a.since), a.stream, a.sensor, a.score, a.peak, a.channel, a.class ?? a.label, a.reason]), "none");
  rows("streams", (status.streams ?? []).map((s) => {
    const model = models.get(s.stream) ?? {};
    const sensors = s.sensors ?? {};
    const rate = [s.budget_per_point, s.achieved_alarm_rate].map((r) => number(r) || "–").join(" / ");
    return [s.stream, model.model, runsOn(model), sensors.live, sensors.warming, sensors.stale, sensors.refused,
      s.samples, s.windows_scored, sum(s.rejected), rate];
  }), "none");
  const choice = by("stream");
  const names = (status.streams ?? []).map((s) => s.stream);
  if (choice.options.length !== names.length + 1) {
    for (const name of names) {
      const option = choice.appendChild(document.createElement("option"));
      option.value = option.textContent = name;
    }
  }
  by("about").textContent = [`anomalyd ${status.version ?? ""}`, status.broker?.url].filter(Boolean).join(" · ");
}
async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(5000), cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}
async function turn() {
  try {
    show(await ask("api/status"));
    const query = new URLSearchParams();
    if (by("stream").value) query.set("stream", by("stream").value);
    if (by("sensor-state").value) query.set("state", by("sensor-state").value);
    const { sensors, more } = await ask(`api/sensors?${query}`);
    rows("sensors", sensors.map((s) => [s.stream, s.sensor, s.state, why(s), s.score, when(s.timestamp)]), "none");
    by("more").hidden = !more;
  } catch (error) {
    verdict("no answer", "bad", [String(error.message ?? error)]);
  }
}
async function loop() {
  if (!document.hidden) await turn();
  setTimeout(loop, EVERY_MS);
}
by("filter").addEventListener("change", turn);
by("filter").addEventListener("submit", (event) => event.preventDefault());
loop();
