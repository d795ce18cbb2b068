// Zooms the picture of a timeline, and says what everything in it is. Nothing is loaded.
(() => {
  'use strict';
  const $ = (id) => document.getElementById(id);
  const [svg, stage, tip, said] = [$('picture'), $('stage'), $('tip'), $('said')];
  const points = JSON.parse($('points').textContent);
  const [from, to] = [points[0][0], points[points.length - 1][0]];
  const wide = points[points.length - 1][1];
  const height = svg.viewBox.baseVal.height;
  const left = +svg.dataset.left;
  const MARGIN = 8;
  const LETTER = 5.9;
  const NARROWEST = 320;
  // The shortest time that can be seen at once, and the share of the window by which it moves.
  const SHORTEST_US = 1;
  const STEP = 0.25;

  // Between two points it is to scale. Both directions.
  const along = (value, a, b) => {
    let [low, high] = [0, points.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle][a] <= value) low = middle; else high = middle;
    }
    const [p, q] = [points[low], points[high]];
    return q[a] === p[a] ? p[b] : p[b] + (q[b] - p[b]) * (value - p[a]) / (q[a] - p[a]);
  };
  const toScale = () => $('scale').checked;
  // A moment's place from 0 to 1, and back.
  const place = (t) => (toScale() ? (t - from) / (to - from) : along(t, 0, 1) / wide);
  const moment = (u) => (toScale() ? from + u * (to - from) : along(u * wide, 1, 0));

  // What moves: with its times, and how it stands.
  const things = [...svg.querySelectorAll('[data-a]')].map((element) => ({
    element, a: +element.dataset.a, b: +element.dataset.b, say: element.dataset.say, texts: element.dataset.texts?.split('|'),
    kind: element.tagName === 'path' ? (element.getAttribute('d').includes('V') ? 'stop' : 'path') : element.tagName,
    d: element.getAttribute('d'),
  }));
  const middle = (thing) => {
    const { element } = thing;
    if (thing.kind === 'rect') return +element.getAttribute('y') + element.getAttribute('height') / 2;
    return +thing.d.split(/[ H]/)[1];
  };
  const lanes = new Map();
  for (const thing of things) {
    if (!thing.say || thing.kind === 'text' || thing.kind === 'line' || thing.kind === 'stop') continue;
    const y = Math.round(middle(thing));
    if (!lanes.has(y)) lanes.set(y, []);
    lanes.get(y).push(thing);
  }
  const rows = [...lanes.keys()].sort((a, b) => a - b).map((y) => lanes.get(y).sort((p, q) => p.a - q.a || p.b - q.b));

  // The window: from where to where it is seen, of the whole from 0 to 1.
  let [begin, end] = [0, 1];
  let width = 0;
  const x = (t) => left + (place(t) - begin) / (end - begin) * (width - left - MARGIN);

  const ticks = () => {
    const grid = svg.querySelector('.grid');
    const [top, bottom] = [grid.dataset.top, grid.dataset.bottom].map(Number);
    const room = width - left - MARGIN;
    const span = moment(end) - moment(begin);
    let step = 1;
    for (let power = 1; ; power *= 10) {
      step = [power, 2 * power, 5 * power].find((n) => n / span * room >= 64);
      if (step) break;
    }
    grid.replaceChildren();
    let before = -Infinity;
    for (let t = Math.max(0, Math.ceil(moment(begin) / step) * step); t <= moment(end); t += step) {
      const at = x(t);
      if (at - before < 48) continue;
      before = at;
      const line = document.createElementNS(svg.namespaceURI, 'path');
      line.setAttribute('d', `M${at.toFixed(1)} ${top}V${bottom}`);
      const text = document.createElementNS(svg.namespaceURI, 'text');
      text.textContent = t === 0 ? '0' : step >= 1e6 ? `${+(t / 1e6).toFixed(3)} ms` : `${+(t / 1e6).toFixed(6)} ms`;
      // The last one is to be read whole.
      text.setAttribute('x', Math.min(at, width - text.textContent.length * LETTER / 2 - 4).toFixed(1));
      text.setAttribute('y', bottom + 12);
      grid.append(line, text);
    }
  };
  const draw = () => {
    const [first, last] = [left, width - MARGIN];
    for (const thing of things) {
      const { element, kind } = thing;
      const [x0, x1] = [x(thing.a), x(thing.b)];
      const away = x1 < first || x0 > last;
      element.classList.toggle('away', away);
      if (away) continue;
      const [p, q] = [Math.max(x0, first), Math.min(x1, last)];
      if (kind === 'rect') {
        element.setAttribute('x', p.toFixed(1)); element.setAttribute('width', Math.max(q - p, 1.2).toFixed(1));
      } else if (kind === 'path') {
        element.setAttribute('d', `M${p.toFixed(1)} ${thing.d.split(/[ H]/)[1]}H${Math.max(q, p + 1.2).toFixed(1)}`);
      } else if (kind === 'stop') {
        element.setAttribute('d', `M${x0.toFixed(1)} ${thing.d.split(' ')[1]}`);
      } else if (kind === 'line') {
        // An arrow of which one end lies outside is cut nowhere: its slope says where it leads.
        const outside = x0 < first || x1 > last;
        element.classList.toggle('away', outside);
        element.setAttribute('x1', x0.toFixed(1)); element.setAttribute('x2', x1.toFixed(1));
      } else if (!thing.texts) {
        element.setAttribute('x', (x0 - 4).toFixed(1));
      } else {
        const fits = thing.texts.find((text) => text.length * LETTER + 4 <= q - p);
        element.textContent = fits || '';
        element.setAttribute('x', ((p + q) / 2).toFixed(1));
      }
    }
    ticks();
  };
  const fit = () => {
    width = Math.max(stage.clientWidth, NARROWEST);
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    svg.style.height = `${height * stage.clientWidth / width}px`;
    draw();
  };
  const see = (a, b) => {
    const least = Math.min(1, SHORTEST_US * 1e3 / (to - from));
    let size = Math.min(1, Math.max(least, b - a));
    begin = Math.min(Math.max(0, a), 1 - size);
    end = begin + size;
    draw();
  };
  // Around a place of the window, from 0 to 1.
  const zoom = (factor, around = 0.5) => {
    const at = begin + (end - begin) * around;
    see(at - (at - begin) * factor, at + (end - at) * factor);
  };
  const move = (share) => see(begin + (end - begin) * share, end + (end - begin) * share);

  let chosen = null;
  const choose = (thing) => {
    chosen?.element.classList.remove('chosen');
    chosen = thing;
    if (!thing) { tip.hidden = true; return; }
    thing.element.classList.add('chosen');
    said.textContent = thing.say;
  };
  const showTip = (thing, px, py) => {
    tip.textContent = thing.say;
    tip.hidden = false;
    const [w, h] = [tip.offsetWidth, tip.offsetHeight];
    tip.style.left = `${Math.max(0, Math.min(px + 12, stage.clientWidth - w))}px`;
    tip.style.top = `${Math.max(0, py + 14 + h > stage.clientHeight ? py - h - 10 : py + 14)}px`;
  };
  const of = (target) => things.find((thing) => thing.element === target && thing.say);
  // Thin things are hard to hit: what is nearest, within a few pixels.
  const near = (event) => {
    const exact = of(event.target);
    if (exact) return exact;
    for (const [dx, dy] of [[0, 3], [0, -3], [3, 0], [-3, 0], [0, 6], [0, -6]]) {
      const thing = of(document.elementFromPoint(event.clientX + dx, event.clientY + dy));
      if (thing) return thing;
    }
    return null;
  };

  let drag = null;
  svg.addEventListener('pointerdown', (event) => { drag = { x: event.clientX, begin, end }; });
  addEventListener('pointerup', () => { drag = null; });
  svg.addEventListener('pointermove', (event) => {
    if (drag && event.buttons) {
      const share = (drag.x - event.clientX) / stage.clientWidth;
      const size = drag.end - drag.begin;
      see(drag.begin + share * size, drag.end + share * size);
      return;
    }
    const thing = near(event);
    choose(thing);
    const box = stage.getBoundingClientRect();
    if (thing) showTip(thing, event.clientX - box.left, event.clientY - box.top);
  });
  svg.addEventListener('pointerleave', () => { tip.hidden = true; });
  svg.addEventListener('wheel', (event) => {
    const box = svg.getBoundingClientRect();
    const scale = width / box.width;
    const around = ((event.clientX - box.left) * scale - left) / (width - left - MARGIN);
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) move(Math.sign(event.deltaX || event.deltaY) * STEP / 2);
    else zoom(event.deltaY > 0 ? 1.25 : 0.8, Math.min(1, Math.max(0, around)));
    event.preventDefault();
  }, { passive: false });

  const walk = (across, along) => {
    let row = rows.findIndex((list) => list.includes(chosen));
    let thing;
    if (row < 0) {
      thing = rows[0]?.[0];
    } else if (along) {
      const list = rows[row];
      thing = list[Math.min(list.length - 1, Math.max(0, list.indexOf(chosen) + along))];
    } else {
      row = Math.min(rows.length - 1, Math.max(0, row + across));
      const t = (chosen.a + chosen.b) / 2;
      thing = rows[row].reduce((best, one) => {
        const far = (one) => Math.max(one.a - t, t - one.b, 0);
        return far(one) < far(best) ? one : best;
      });
    }
    if (!thing) return;
    // In view.
    const [a, b] = [place(thing.a), place(thing.b)];
    if (b < begin || a > end) see((a + b) / 2 - (end - begin) / 2, (a + b) / 2 + (end - begin) / 2);
    choose(thing);
    const row0 = stage.getBoundingClientRect();
    const box = thing.element.getBoundingClientRect();
    showTip(thing, Math.min(Math.max(box.left + box.width / 2 - row0.left, 0), stage.clientWidth), box.bottom - row0.top);
  };
  svg.addEventListener('keydown', (event) => {
    const act = {
      ArrowLeft: () => (event.shiftKey ? move(-STEP) : walk(0, -1)),
      ArrowRight: () => (event.shiftKey ? move(STEP) : walk(0, 1)),
      ArrowUp: () => walk(-1, 0),
      ArrowDown: () => walk(1, 0),
      '+': () => zoom(0.5), '=': () => zoom(0.5), '-': () => zoom(2),
      0: () => see(0, 1), Home: () => see(0, 1), Escape: () => choose(null),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    act();
    event.preventDefault();
  });
  $('in').addEventListener('click', () => zoom(0.5));
  $('out').addEventListener('click', () => zoom(2));
  $('earlier').addEventListener('click', () => move(-STEP));
  $('later').addEventListener('click', () => move(STEP));
  $('all').addEventListener('click', () => see(0, 1));
  $('scale').addEventListener('change', () => {
    // The same time stays in view.
    const [a, b] = [begin, end];
    $('scale').checked = !$('scale').checked;
    const [t0, t1] = [moment(a), moment(b)];
    $('scale').checked = !$('scale').checked;
    see(place(t0), place(t1));
  });
  addEventListener('resize', fit);
  fit();
})();
