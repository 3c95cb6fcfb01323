"use strict";
// The viewer of attention patterns: a chosen token (the query) shades the tokens that a head looks at (the keys).
(() => {
  const viewer = document.getElementById("viewer");
  if (!viewer) return;
  const models = JSON.parse(document.getElementById("viewer-passages").textContent);
  const part = (name) => document.getElementById(`viewer-${name}`);
  const [modelChoice, headChoice, text, key, said, about] = ["model", "head", "text", "key", "said", "about"].map(part);
  const measures = [...viewer.querySelectorAll("input[name=viewer-measure]")];
  const SHOWN = 5; // keys told in words
  const LEAST = 0.02; // of the scale: less is not shaded
  const SHADES = { attention: [51, 51, 51], above: [178, 28, 43], below: [33, 102, 172] };
  let head = null;
  let kept = 1; // the token that stays chosen
  let spans = [];

  const element = (tag, content, name) => {
    const made = document.createElement(tag);
    made.textContent = content;
    if (name) made.className = name;
    return made;
  };
  const visible = (token) => token.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "·") || "∅";
  const signed = (value) => (Math.abs(value) < 0.005 ? "" : value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
  const percent = (value) => `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)}%`;
  const measure = () => measures.find((one) => one.checked).value;
  const scale = () => (measure() === "attention" ? 1 : head.strong || 1);
  const worth = (value) => (measure() === "attention" ? percent(value) : signed(value));

  // The token whose strongest look at an earlier token, the start left out, is the strongest of all.
  const mostTelling = () => {
    let best = 1, most = -1;
    head.attention.forEach((row, at) => {
      row.slice(1, -1).forEach((weight) => { if (weight > most) { most = weight; best = at + 1; } });
    });
    return best;
  };

  const shade = (span, value) => {
    const share = Math.min(1, Math.abs(value) / scale());
    span.classList.toggle("below", value < 0 && share >= LEAST);
    span.classList.toggle("above", measure() === "attribution" && value > 0 && share >= LEAST);
    if (share < LEAST) {
      span.style.backgroundColor = span.style.color = "";
      return;
    }
    const tint = SHADES[measure() === "attention" ? "attention" : value < 0 ? "below" : "above"];
    const mixed = tint.map((part) => Math.round(255 + (part - 255) * share));
    const luminance = mixed.map((part) => { const c = part / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    const light = 0.2126 * luminance[0] + 0.7152 * luminance[1] + 0.0722 * luminance[2];
    span.style.backgroundColor = `rgb(${mixed.join(", ")})`;
    span.style.color = light < 0.18 ? "#FFFFFF" : "#000000";
  };

  const show = (query) => {
    const values = head[measure()][query - 1];
    spans.forEach((span, at) => {
      span.classList.toggle("query", at === query);
      span.classList.toggle("later", at > query);
      shade(span, at <= query ? values[at] : 0);
    });
    tell(query, values);
  };

  const tell = (query, values) => {
    const next = head.tokens[query + 1];
    const first = element("p", "");
    first.append("Token ", element("code", visible(head.tokens[query])), ` (index ${head.index[query]}), next `);
    first.append(next === undefined ? "the token after the passage" : element("code", visible(next)));
    first.append(measure() === "attention" ? "; looks at:" : "; adds to the logit of the next token, through:");
    const strongest = values.map((value, at) => [value, at]).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]));
    const list = document.createElement("ol");
    for (const [value, at] of strongest.slice(0, SHOWN)) {
      const line = document.createElement("li");
      line.append(element("code", visible(head.tokens[at])), ` index ${head.index[at]} `, element("b", worth(value)));
      list.append(line);
    }
    said.replaceChildren(first, list);
    if (measure() === "attention") {
      const shown = values.reduce((sum, value) => sum + value, 0);
      said.append(element("p", `On tokens before the passage, which are not shown: ${percent(Math.max(0, 1 - shown))}.`));
    }
  };

  const choose = (query, focus) => {
    kept = Math.max(1, Math.min(head.tokens.length - 1, query));
    spans.forEach((span, at) => {
      span.tabIndex = at === kept ? 0 : -1;
      if (at) span.setAttribute("aria-selected", String(at === kept));
    });
    if (focus) spans[kept].focus();
    show(kept);
  };

  const setKey = () => {
    const attention = measure() === "attention";
    const end = attention ? "100%" : `${head.strong.toPrecision(2)} and more`;
    key.replaceChildren(element("span", attention ? "0%" : "0"), element("span", "", attention ? "ramp" : "ramp above"));
    key.append(element("span", attention ? "100% of the attention" : `+${end}, solid underline`));
    if (!attention) key.append(element("span", "", "ramp below"), element("span", `−${end}, dashed underline: lowered`));
  };

  const setHead = () => {
    head = models[modelChoice.value].heads[headChoice.value];
    text.replaceChildren();
    spans = head.tokens.map((token, at) => {
      // A line may break before a token, not between its blank and its word.
      const written = token.replaceAll("\n", "↵\n").replaceAll("\t", "⇥\t").replaceAll(" ", "\u00A0");
      if (token.startsWith(" ")) text.append(document.createElement("wbr"));
      const span = element("span", at ? written : token, at ? "token" : "token start");
      if (at) span.setAttribute("role", "option");
      span.dataset.at = at;
      text.append(span);
      return span;
    });
    about.textContent = `Example ${head.example} of the evaluation set. The first token is the start token; what stands between it and the passage is not shown.`;
    setKey();
    choose(Math.min(kept, head.tokens.length - 1));
  };

  const setModel = () => {
    headChoice.replaceChildren(...models[modelChoice.value].heads.map((one, at) => {
      const option = element("option", `layer ${one.layer} head ${one.head}, ${one.chosen}`);
      option.value = at;
      return option;
    }));
    const heads = models[modelChoice.value].heads;
    headChoice.value = Math.max(0, heads.findIndex((one) => one.chosen === "induction"));
    head = heads[headChoice.value];
    kept = mostTelling();
    setHead();
  };

  const tokenAt = (event) => Number(event.target.dataset.at || 0);
  text.addEventListener("pointerover", (event) => { if (tokenAt(event)) show(tokenAt(event)); });
  text.addEventListener("pointerleave", () => show(kept));
  text.addEventListener("click", (event) => { if (tokenAt(event)) choose(tokenAt(event), true); });
  text.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: kept - 1, ArrowUp: kept - 1, ArrowRight: kept + 1, ArrowDown: kept + 1, Home: 1, End: spans.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to, true);
  });
  modelChoice.addEventListener("change", setModel);
  headChoice.addEventListener("change", setHead);
  measures.forEach((one) => one.addEventListener("change", () => { setKey(); show(kept); }));

  models.forEach((model, at) => {
    const option = element("option", model.name);
    option.value = at;
    modelChoice.append(option);
  });
  const hasInduction = (model) => model.heads.some((one) => one.chosen === "induction");
  modelChoice.value = Math.max(0, models.findIndex(hasInduction));
  viewer.hidden = false;
  setModel();
})();
