// The page of `vggnet serve`. It sends the image to the JSON API (see /docs) and shows the answers.
// All text from files and nets is set as text, never as HTML.

const find = (id) => document.getElementById(id);
const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
const COLOURS = ["#ff5a6e", "#4fb3ff", "#5fd97a", "#ffb14a", "#d78bff"];
const SVG = "http://www.w3.org/2000/svg";
const state = { models: [], image: null, running: null, urls: [] };

class Failure extends Error {}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server does not answer. Is it still running?");
  }
  if (answer.ok) return answer;
  let text = `status ${answer.status}`;
  try { text = (await answer.json()).error; } catch { /* no JSON: the status says enough */ }
  throw new Failure(text);
}

function send(path, parameters, signal) {
  const query = new URLSearchParams(parameters);
  const headers = { "Content-Type": "application/octet-stream" };
  return ask(`api/${path}?${query}`, { method: "POST", body: state.image, headers, signal });
}

async function picture(path, parameters, signal) {
  const url = URL.createObjectURL(await (await send(path, parameters, signal)).blob());
  state.urls.push(url);
  return url;
}

function say(text, wrong = false) {
  find("status").textContent = text;
  find("status").classList.toggle("wrong", wrong);
}

// ---- settings

function scalesOf(model, count) {
  const all = model.test_scales;
  if (count === "one") return [model.test_scale];
  return count === "two" ? [...new Set([all[0], all[all.length - 1]])] : all;
}

const shownModels = () => [find("model").value, find("second").value]
  .filter((name, place, names) => name && names.indexOf(name) === place)
  .map((name) => state.models.find((model) => model.name === name));

function describeSettings() {
  const models = shownModels();
  for (const count of ["one", "two", "three"]) {
    const texts = new Set(models.map((model) => scalesOf(model, count).join(", ")));
    find(`q-${count}`).textContent = [...texts].join(" and ");
  }
  const boxes = models.every((model) => model.boxes);
  find("boxes-choice").hidden = !boxes;
  if (!boxes && chosen("layer") === "boxes") document.querySelector('input[value="windows"]').checked = true;
  const options = models[0].classes.map((each) => {
    const option = document.createElement("option");
    option.value = each.class;
    if (each.title !== each.class) option.label = each.title;
    return option;
  });
  find("classes").replaceChildren(...options);
}

function wantedClass(model, answer) {
  const text = find("class").value.trim();
  if (!text) return answer.classes[0].class;
  const found = model.classes.find((each) => each.class === text) ?? model.classes.find((each) => each.title === text);
  if (!found) throw new Failure(`Net ${model.name} has no class "${text}".`);
  return found.class;
}

// ---- what lies over the image

function shape(kind, attributes) {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function outline([left, top, right, bottom], colour, thick) {
  const box = { x: left, y: top, width: right - left, height: bottom - top, fill: "none" };
  const style = { "vector-effect": "non-scaling-stroke" };
  return [
    shape("rect", { ...box, ...style, stroke: "#000", "stroke-width": thick + 2 }),
    shape("rect", { ...box, ...style, stroke: colour, "stroke-width": thick }),
  ];
}

function windowShapes(answer) {
  const drawn = [];
  answer.shown.forEach((view, place) => {
    for (const each of view.windows) {
      if (view.view === "dense" && view.windows.length > 1) {
        const middle = { cx: (each[0] + each[2]) / 2, cy: (each[1] + each[3]) / 2 };
        const radius = Math.max(answer.image.width, answer.image.height) / 130;
        drawn.push(shape("circle", { ...middle, r: radius, fill: COLOURS[place % 5], stroke: "#000" }));
      } else drawn.push(...outline(each, COLOURS[place % 5], view.windows.length > 1 ? 1 : 2));
    }
  });
  return drawn;
}

function windowText(answer) {
  const parts = answer.shown.map((view) => {
    const many = view.windows.length;
    if (view.view === "dense") {
      const what = many === 1 ? "one window" : `${many} windows (their centres are marked)`;
      return `Q=${view.test_scale}: the whole image gives ${what}`;
    }
    return `Q=${view.test_scale}: ${many === 1 ? "the centre crop" : `${many} crops`}`;
  });
  return `${parts.join("; ")}${answer.mirror ? "; each with its mirror image" : ""}.`;
}

async function layerOf(model, answer, signal) {
  const layer = chosen("layer");
  const size = `0 0 ${answer.image.width} ${answer.image.height}`;
  const base = { size, shapes: [], source: null };
  if (layer === "windows") {
    const source = await picture("picture", { model: model.name }, signal);
    return { ...base, source, shapes: windowShapes(answer), text: windowText(answer), alt: "the image" };
  }
  if (layer === "boxes") {
    const source = await picture("picture", { model: model.name }, signal);
    const found = await (await send("boxes", { model: model.name }, signal)).json();
    const shapes = found.boxes.flatMap((box, rank) =>
      outline([box.xmin, box.ymin, box.xmax + 1, box.ymax + 1], COLOURS[rank % 5], rank ? 1 : 3)).reverse();
    const listed = found.boxes.map((box) => `${box.title} ${box.percent} %`).join(", ");
    return { ...base, source, shapes, legend: found.boxes, alt: `the image with boxes: ${listed}`,
      text: `The box of each class at Q=${found.test_scale.join(", ")}, the most probable boldest.` };
  }
  const name = wantedClass(model, answer);
  const title = model.classes.find((each) => each.class === name).title;
  const scale = scalesOf(model, "one")[0];
  const source = await picture(`${layer}/picture`, { model: model.name, class: name, test_scale: scale }, signal);
  const text = layer === "score-map"
    ? `Posterior of "${title}" for each window of the image at Q=${scale}; light is high.`
    : `How much each pixel changes the score of "${title}" at Q=${scale}; light is much.`;
  return { ...base, source, text, alt: text, name };
}

// ---- answers

function classRow(guess, place, active, colour) {
  const row = document.createElement("tr");
  const name = row.insertCell();
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = guess.title === guess.class ? guess.title : `${guess.title} (${guess.class})`;
  button.title = "Show the score map of this class";
  button.setAttribute("aria-pressed", String(active));
  button.addEventListener("click", () => {
    find("class").value = guess.class;
    if (!["score-map", "saliency"].includes(chosen("layer"))) document.querySelector('input[value="score-map"]').checked = true;
    update();
  });
  name.append(button);
  if (colour) button.style.borderLeft = `.6rem solid ${colour}`;
  if (colour) button.style.paddingLeft = ".4rem";
  const value = row.insertCell();
  value.className = "percent";
  const number = document.createElement("span");
  number.textContent = `${guess.percent} %`;
  const bar = document.createElement("i");
  bar.style.width = `calc((100% - 4.2rem) * ${guess.posterior})`;
  value.append(number, bar);
  return row;
}

async function show(model, signal) {
  const view = chosen("view");
  const parameters = [["model", model.name], ["view", view]];
  for (const scale of scalesOf(model, chosen("scales"))) parameters.push(["test_scale", scale]);
  const answer = await (await send("predict", parameters, signal)).json();
  const layer = await layerOf(model, answer, signal);
  const article = document.importNode(find("answer").content.firstElementChild, true);
  article.querySelector("h2").textContent = `Net ${model.name}`;
  const image = article.querySelector("img");
  image.alt = layer.alt;
  image.src = layer.source;
  article.querySelector(".picture").classList.toggle("small", answer.image.width < 384);
  const svg = article.querySelector("svg");
  svg.setAttribute("viewBox", layer.size);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.replaceChildren(...layer.shapes);
  article.querySelector("figcaption").textContent = layer.text;
  const colours = new Map((layer.legend ?? []).map((box, rank) => [box.class, COLOURS[rank % 5]]));
  article.querySelector("tbody").replaceChildren(
    ...answer.classes.map((each, place) => classRow(each, place, each.class === layer.name, colours.get(each.class))));
  const passes = answer.forward_passes === 1 ? "1 image" : `${answer.forward_passes} images or crops`;
  article.querySelector(".shown").textContent =
    `${answer.image.width} x ${answer.image.height} pixels; ${passes} through the net.`;
  article.querySelector(".notes").replaceChildren(...answer.notes.map((text) => {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
  }));
  await image.decode();
  return article;
}

async function update() {
  describeSettings();
  if (!state.image) return;
  state.running?.abort();
  const running = new AbortController();
  state.running = running;
  const old = state.urls;
  state.urls = [];
  say("Computing ...");
  try {
    const articles = await Promise.all(shownModels().map((model) => show(model, running.signal)));
    find("results").replaceChildren(...articles);
    const best = articles.map((each) => {
      const [name, value] = each.querySelectorAll("tbody td");
      return `${each.querySelector("h2").textContent}: ${name.textContent}, ${value.textContent}`;
    });
    say(`${state.title}. ${best.join("; ")}.`);
    find("results").dataset.done = String(Number(find("results").dataset.done ?? 0) + 1);
  } catch (error) {
    if (running.signal.aborted) return;
    if (!(error instanceof Failure)) console.error(error);
    find("results").replaceChildren();
    say(error instanceof Failure ? error.message : "The page failed; its console shows why.", true);
  } finally {
    old.forEach((url) => URL.revokeObjectURL(url));
  }
}

// ---- the image

function take(blob, title, button = null) {
  if (!blob) return;
  state.image = blob;
  state.title = title;
  document.querySelectorAll("#samples button").forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
  update();
}

function offer(sample) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  const image = document.createElement("img");
  image.alt = "";
  image.src = `api/samples/${sample.number}/picture`;
  const text = document.createElement("span");
  text.textContent = sample.title;
  button.setAttribute("aria-label", `Sample: ${sample.title}`);
  button.append(image, text);
  button.addEventListener("click", async () => {
    try {
      take(await (await ask(`api/samples/${sample.number}`)).blob(), `Sample ${sample.title}`, button);
    } catch (error) {
      say(error.message, true);
    }
  });
  item.append(button);
  return item;
}

function listen() {
  find("file").addEventListener("change", (event) => {
    const file = event.target.files[0];
    take(file, file?.name);
  });
  find("settings").addEventListener("change", update);
  find("settings").addEventListener("submit", (event) => event.preventDefault());
  const drop = find("drop");
  for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const file = event.dataTransfer.files[0];
    if (file) take(file, file.name);
    else say("Drop an image file: links are not followed.", true);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files][0];
    if (file) take(file, "Pasted image");
  });
}

async function start() {
  try {
    state.models = await (await ask("api/models")).json();
    find("model").replaceChildren(...state.models.map((model) => new Option(model.name, model.name)));
    find("second").replaceChildren(new Option("none", ""), ...state.models.map((model) => new Option(model.name, model.name)));
    find("second").closest("label").hidden = state.models.length < 2;
    find("samples").replaceChildren(...(await (await ask("api/samples")).json()).map(offer));
    listen();
    describeSettings();
    document.body.dataset.ready = "true";
  } catch (error) {
    say(error.message, true);
  }
}

start();
