"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");
  const figures = read("figures");
  const themes = read("themes");
  const views = read("views") ?? [];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const drawn = new Set();
  let printing = false;

  const isDark = () => !printing && (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  // The figures carry the light theme; the reader's own scheme decides when they are drawn.
  const dress = (figure, width) => {
    const theme = themes[isDark() ? "dark" : "light"];
    const layout = { ...figure.layout, font: { ...figure.layout.font, color: theme.ink } };
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    for (const name of ["xaxis", "yaxis"]) {
      layout[name] = { ...layout[name], gridcolor: theme.rule, linecolor: theme.rule, zerolinecolor: theme.muted };
    }
    const role = (name) => {
      const [list, index] = name.split("-");
      return index === undefined ? theme[list] : theme[list][Number(index)];
    };
    const data = figure.data.map((trace) => {
      if (trace.type === "scatter" && trace.meta !== "points") {
        const color = role(trace.meta);
        // Plotly takes a part that is there but undefined for one that is given.
        const parts = ["line", "marker", "textfont", "error_x", "error_y"].filter((name) => trace[name]);
        const painted = Object.fromEntries(parts.map((name) => [name, { ...trace[name], color }]));
        if (painted.marker?.line) painted.marker.line = { ...painted.marker.line, color };
        if (trace.fillcolor) painted.fillcolor = color + trace.fillcolor.slice(7);
        return { ...trace, ...painted };
      }
      if (trace.meta === "points") {
        const line = { ...trace.marker.line, color: theme.point };
        return { ...trace, marker: { ...trace.marker, color: theme.point, line }, error_x: { ...trace.error_x, color: theme.muted } };
      }
      const painted = { ...trace, colorscale: theme.scales[trace.meta] };
      if (trace.texttemplate) {
        // Of one size in all cells of a figure; plotly would choose one for each colour.
        const columns = layout.xaxis.range[1] + 0.5;
        painted.textfont = { size: Math.max(6, Math.min(12, (width - 80) / columns / 5.5)) };
      }
      return painted;
    });
    return { data, layout };
  };

  const draw = (id) => {
    const place = document.getElementById(id);
    const { data, layout } = dress(figures[id], place.clientWidth);
    const first = !drawn.has(id);
    drawn.add(id);
    place.style.minHeight = `${layout.height}px`;
    return Plotly.react(place, data, layout, { responsive: true, displaylogo: false, displayModeBar: false }).then(() => {
      if (first) place.on("plotly_click", follow);
    }).catch((error) => {
      place.textContent = `This figure could not be drawn: ${error.message}. The run's scores hold its numbers.`;
      console.error(error);
    });
  };

  // A click on a head's mark leads to the head's own part.
  const follow = (event) => {
    const told = [event.points[0].customdata].flat()[0];
    const label = /^(?:<b>)?(L\d+H\d+)/.exec(told ?? "")?.[1];
    if (label && document.getElementById(label)) location.hash = label;
  };

  // A page that nobody scrolls down does not wait for circuitsvis: its script runs with the first view.
  const circuitsvis = () => {
    if (!globalThis.CircuitsVis) {
      const script = document.createElement("script");
      script.textContent = document.getElementById("circuitsvis").textContent;
      document.head.append(script);
    }
    return globalThis.CircuitsVis;
  };

  // circuitsvis takes its element over, so that each is drawn once.
  const show = (place) => {
    if (place.dataset.done) return;
    place.dataset.done = "yes";
    near.unobserve(place);
    const CircuitsVis = circuitsvis();
    const { tokens, causal, heads } = views[Number(place.dataset.view)];
    const shared = { tokens, maxValue: 1, minValue: 0, maskUpperTri: causal };
    if (place.dataset.head) {
      const one = { attention: heads[place.dataset.head], zoomed: true, ...shared };
      CircuitsVis.render(place.id, CircuitsVis.AttentionPattern, one);
    } else {
      const every = { attention: Object.values(heads), attentionHeadNames: Object.keys(heads), ...shared };
      CircuitsVis.render(place.id, CircuitsVis.AttentionHeads, every);
      watch(place);
    }
  };

  // circuitsvis answers the mouse alone: its thumbnails become buttons.
  const watch = (place, tries = 50) => {
    const labels = place.querySelectorAll("h4");
    if (!labels.length && tries) setTimeout(watch, 20, place, tries - 1);
    labels.forEach((label) => {
      const button = label.parentElement.parentElement;
      button.tabIndex = 0;
      button.setAttribute("role", "button");
      button.setAttribute("aria-label", `Show the attention of ${label.textContent}`);
      button.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          button.click();
        }
      });
    });
  };

  const near = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) show(entry.target);
  }), { rootMargin: "100%" });

  // A closed <details> has no width to draw in: what is in it waits until it opens.
  const seen = (place) => !place.closest("details:not([open])");
  const reveal = (part) => {
    part.querySelectorAll(".plot").forEach((place) => seen(place) && !drawn.has(place.id) && draw(place.id));
    part.querySelectorAll("[data-view]").forEach((place) => seen(place) && near.observe(place));
  };
  const drawNext = (waiting) => {
    const id = waiting.shift();
    if (id === undefined) {
      root.dataset.drawn = "yes";
      return;
    }
    draw(id).then(() => setTimeout(drawNext, 0, waiting));
  };
  const redraw = () => drawn.forEach((id) => draw(id));

  const go = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let part = target; part; part = part.parentElement) {
      if (part.tagName === "DETAILS") part.open = true;
    }
    target.scrollIntoView();
    target.querySelector("summary")?.focus({ preventScroll: true });
  };

  const copy = async (button) => {
    const code = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      // No clipboard for this page: the command is selected instead, and copied where the browser still does that.
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };

  const names = { "": "automatic", light: "light", dark: "dark" };
  const switcher = document.getElementById("theme");
  const choose = (theme) => {
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
    if (switcher) switcher.textContent = `Theme: ${names[theme]}`;
    redraw();
  };

  addEventListener("load", () => {
    const wide = matchMedia("(min-width: 75rem)");
    const contents = document.querySelector(".contents");
    if (contents) contents.open = wide.matches;
    if (switcher) {
      switcher.hidden = false;
      switcher.addEventListener("click", () => {
        const order = Object.keys(names);
        choose(order[(order.indexOf(root.dataset.theme ?? "") + 1) % order.length]);
      });
    }
    document.querySelectorAll(".copy").forEach((button) => button.addEventListener("click", () => copy(button)));
    document.querySelectorAll("[data-open]").forEach((button) => button.addEventListener("click", () => {
      document.querySelectorAll(button.dataset.open).forEach((part) => { part.open = true; });
    }));
    document.querySelectorAll("main details").forEach((part) => {
      part.addEventListener("toggle", () => part.open && reveal(part));
    });
    document.querySelectorAll("[data-view]").forEach((place) => seen(place) && near.observe(place));
    drawNext([...document.querySelectorAll(".plot")].filter(seen).map((place) => place.id));
    go();
  });
  addEventListener("hashchange", go);
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    printing = true;
    document.querySelectorAll("main details").forEach((part) => { part.open = true; });
    Object.keys(figures).forEach((id) => draw(id));
    document.querySelectorAll("[data-view]").forEach(show);
  });
  addEventListener("afterprint", () => { printing = false; redraw(); });
})();
