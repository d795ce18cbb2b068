// What report.html shows beside its words and tables, drawn from the JSON in the page. Nothing is loaded.
(() => {
  'use strict';
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($('data').textContent);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const charts = new Map();
  const FAMILIES = new Map([['blocking', 'blocks on one client'], ['asking', 'asks about all'], ['told', 'is told who is ready'],
    ['completed', 'is told what is done'], ['runtime', 'a library waits'], ['other', 'others']]);
  const USUAL = ['threads', 'polling', 'poll', 'epoll', 'io-uring', 'tokio'];
  const METRICS = new Map([...$('metric').options].map((option) => [option.value, option.textContent]));
  const DASHES = ['solid', 'dashed', 'dotted', [8, 3, 2, 3]];
  const MARKS = ['circle', 'rect', 'triangle', 'diamond'];
  const DASH = '\u2013';

  const servers = new Map(data.servers.map((server) => {
    const family = data.servers.filter((other) => other.family === server.family);
    return [server.name, { ...server, at: family.indexOf(server) }];
  }));
  const usual = () => {
    const known = USUAL.filter((name) => servers.has(name));
    return new Set(known.length ? known : [...servers.keys()].slice(0, 6));
  };
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const look = (name) => {
    const { family, at } = servers.get(name);
    return { colour: css(`--${family}`), dash: DASHES[at % DASHES.length], mark: MARKS[at % MARKS.length] };
  };

  // What is shown; the fragment of the address says it too, so that a view can be sent.
  const state = { section: null, metric: 'p99', coloured: usual(), to: null, byFamily: false };
  const section = () => data.sections.find((s) => s.id === state.section) || data.sections[0];
  const measured = (s) => s.rows.filter((row) => row.figures);
  const doubt = ({ verdict, unanswered }) => verdict !== 'VALID' ? verdict : unanswered ? `${unanswered.toLocaleString('en')} unanswered` : '';
  const label = (row) => doubt(row.figures) ? `${row.server} (${doubt(row.figures)})` : row.server;
  const isRate = (s) => s.rank === 'requests/s';
  const value = (row) => row.figures.value;
  const row = (s, server) => s.rows.find((row) => row.server === server);

  const short = (x) => `${+x.toPrecision(3)}`;
  const time = (us) => us >= 1e6 ? `${short(us / 1e6)} s` : us >= 1e3 ? `${short(us / 1e3)} ms` : `${short(us)} us`;
  const count = (n) => n >= 1e6 ? `${short(n / 1e6)}M` : n >= 1e3 ? `${short(n / 1e3)}k` : short(n);
  // As the tables have it.
  const figure = (x) => x === null ? 'n/a' : x < 9.995 ? x.toFixed(2) : x < 99.95 ? x.toFixed(1) : Math.round(x).toLocaleString('en');
  const share = (x) => x <= 1 ? '0 %' : `${+((1 - 1 / x) * 100).toPrecision(Math.max(2, Math.ceil(Math.log10(x)) + 1))} %`;
  const factor = (x) => x >= 10 ? `${Math.round(x)}` : x.toFixed(2);
  const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }[c]));
  const shown = (s, x) => isRate(s) ? `${figure(x)}/s` : time(x);

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    Object.entries(attributes).forEach(([name, value]) => { if (value !== null) element.setAttribute(name, value); });
    element.append(...children);
    return element;
  };
  // From the round figure below the least of these values to that above the greatest.
  const round = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const steps = [];
    for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)); power++) steps.push(...[1, 2, 5].map((n) => +`${n}e${power}`));
    const [min, max] = [Math.max(...steps.filter((n) => n <= low)), Math.min(...steps.filter((n) => n >= high))];
    const few = max / min > 200 ? (n) => Number.isInteger(Math.log10(n)) : () => true;
    return { min, max, ticks: steps.filter((n) => n >= min && n <= max && few(n)) };
  };
  const scale = ({ min, max }) => (x) => max > min ? Math.log(x / min) / Math.log(max / min) : 0.5;

  // The cards: where each family stands.
  const strips = () => data.sections.forEach((s) => {
    const place = $(`strip-${s.id}`);
    if (!place) return;
    const rows = s.ranked.map((server) => ({ server, x: value(row(s, server)) })).filter(({ x }) => x > 0);
    if (!rows.length) return place.replaceChildren();
    const families = [...FAMILIES.keys()].filter((family) => rows.some(({ server }) => servers.get(server).family === family));
    const axis = round(rows.map(({ x }) => x));
    const at = scale(axis);
    const [left, width, line] = [70, 290, 18];
    const node = (tag, attributes, text = '') => {
      const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
      Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
      element.append(text);
      return element;
    };
    const height = families.length * line + 18;
    const svg = node('svg', { viewBox: `0 0 ${width + 15} ${height}`, role: 'img', 'aria-label': `${s.title}: where each family of servers stands; the ranking has the figures.` });
    const x = (v) => left + at(v) * (width - left);
    const ends = axis.ticks.length > 3 ? [axis.ticks[0], axis.ticks[axis.ticks.length >> 1], axis.ticks[axis.ticks.length - 1]] : axis.ticks;
    ends.forEach((tick) => svg.append(node('line', { x1: x(tick), x2: x(tick), y1: 0, y2: height - 16, stroke: css('--line') }),
      node('text', { x: x(tick), y: height - 4, 'text-anchor': 'middle' }, isRate(s) ? `${count(tick)}/s` : time(tick))));
    families.forEach((family, i) => svg.append(node('text', { x: 0, y: i * line + 13 }, family)));
    rows.forEach(({ server, x: v }) => {
      const dot = node('circle', { cx: x(v), cy: families.indexOf(servers.get(server).family) * line + 9, r: 4.5, fill: look(server).colour, 'fill-opacity': 0.75 });
      dot.append(node('title', {}, `${server}: ${shown(s, v)}`));
      svg.append(dot);
    });
    place.replaceChildren(svg);
  });

  // The ranking. Of two ranked rows: the interval of the ratio of the second one's figure to the first one's.
  const pair = (s, of, to) => {
    const [i, j] = [of, to].map((server) => s.ranked.indexOf(server));
    if (i === j) return { low: 1, high: 1, differ: false };
    const [low, high, differ] = s.ratios[Math.min(i, j)][Math.abs(i - j) - 1];
    return i > j ? { low, high, differ } : { low: 1 / high, high: 1 / low, differ };
  };
  // The longest runs of rows of which no two differ; a run within another one is left out.
  const runs = (s) => {
    const found = [];
    s.ranked.forEach((_, from) => {
      let to = from;
      const joins = (next) => s.ranked.slice(from, next).every((server) => !pair(s, s.ranked[next], server).differ);
      while (to + 1 < s.ranked.length && joins(to + 1)) to++;
      if (to > from && !found.some((run) => run.to >= to)) found.push({ from, to });
    });
    const free = [];
    found.forEach((run) => {
      const lane = free.findIndex((end) => end < run.from);
      run.lane = lane < 0 ? free.length : lane;
      free[run.lane] = run.to;
    });
    return found;
  };
  const ranking = () => {
    const s = section();
    const to = s.ranked.includes(state.to) ? state.to : null;
    const base = to ? value(row(s, to)) : 1;
    const ranked = s.ranked.map((server, at) => {
      const { figures } = row(s, server);
      const x = figures.value / base;
      const own = to ? pair(s, server, to) : null;
      const [low, high] = own ? [own.low, own.high] : figures.interval ?? [x, x];
      const bound = isRate(s) && figures.bound;
      const late = !isRate(s) && figures.late;
      const said = !own ? `${bound ? '>= ' : late ? '~ ' : ''}${shown(s, x)}`
        : server === to ? '1' : own.differ ? `${bound ? '>= ' : ''}${factor(x)} (${factor(low)} to ${factor(high)})` : `${factor(x)}, no difference shown`;
      return { server, at, x, low, high, bound, said };
    }).filter(({ x }) => x > 0);
    const table = $('ranking-table');
    $('asked').textContent = `${s.question.replace(/\w$/, '$&.')} Ranked by ${s.rank}${to ? `, as a ratio to ${to}` : ''}.`;
    const others = s.rows.filter(({ server }) => !s.ranked.includes(server)).map((row) => make('tr', { 'data-server': row.server },
      make('th', { scope: 'row', class: servers.get(row.server).family }, row.server),
      make('td', { class: 'text', colspan: 3 }, row.figures ? `not ranked: ${doubt(row.figures) || `too few requests for a ${s.rank}`}` : row.reason)));
    if (!ranked.length) return table.replaceChildren(make('caption', { class: 'none' }, 'No server has a VALID result here.'), make('tbody', {}, ...others));
    const axis = round(ranked.flatMap(({ x, low, high }) => [x, Math.max(low, x / 1e3), Math.min(high, x * 1e3)]));
    const at = (x) => `${Math.min(Math.max(scale(axis)(x), 0), 1) * 100}%`;
    const brackets = state.byFamily ? [] : runs(s);
    const lanes = Math.max(0, ...brackets.map(({ lane }) => lane + 1));
    const tick = (x, text) => {
      const mark = make('i', { class: 'tick' });
      mark.style.left = at(x);
      if (text) {
        const name = make('span', {}, text);
        const [first, last] = [x === axis.min, x === axis.max];
        name.style.left = at(x); name.style.transform = `translateX(${first ? 0 : last ? -100 : -50}%)`;
        return name;
      }
      return mark;
    };
    const head = make('div', { class: 'plot' }, ...axis.ticks.map((x) => tick(x, to ? short(x) : isRate(s) ? count(x) : time(x))));
    const line = ({ server, at: i, x, low, high, bound, said }) => {
      const { family, about } = servers.get(server);
      const name = make('button', { type: 'button', title: about, 'aria-pressed': server === to }, server);
      name.addEventListener('click', () => set({ to: server === to ? null : server }));
      const plot = make('div', { class: `plot ${family}` }, ...axis.ticks.map((x) => tick(x)));
      const whisker = make('i', { class: 'whisker' });
      whisker.style.left = at(low); whisker.style.width = `calc(${at(high)} - ${at(low)})`;
      const dot = make('i', { class: bound ? 'dot bound' : 'dot' });
      dot.style.left = at(x);
      plot.append(whisker, dot);
      const side = Array.from({ length: lanes }, (_, lane) => {
        const run = brackets.find((run) => run.lane === lane && run.from <= i && i <= run.to);
        return make('b', { class: run ? `in${run.from === i ? ' from' : ''}${run.to === i ? ' to' : ''}` : '' });
      });
      return make('tr', { 'data-server': server, class: server === to ? 'to' : null }, make('th', { scope: 'row', class: family }, name),
        make('td', { class: 'scale' }, plot), make('td', {}, said), make('td', { class: 'brackets', 'aria-hidden': 'true' }, make('div', {}, ...side)));
    };
    const families = [...FAMILIES].map(([family, meaning]) => ({ meaning, rows: ranked.filter(({ server }) => servers.get(server).family === family) })).filter(({ rows }) => rows.length);
    families.sort((a, b) => a.rows[0].at - b.rows[0].at);
    const body = state.byFamily
      ? families.flatMap(({ meaning, rows }) => [make('tr', { class: 'family' }, make('th', { colspan: 4, scope: 'rowgroup' }, meaning)), ...rows.map(line)])
      : ranked.map(line);
    table.replaceChildren(
      make('thead', {}, make('tr', {}, make('th', { scope: 'col' }, 'server'), make('th', { class: 'scale' }, head), make('th', { scope: 'col' }, to ? `ratio to ${to}` : s.rank), make('th', {}))),
      make('tbody', {}, ...body, ...others));
  };
  const tabs = () => {
    const s = section();
    const button = (text, pressed, id) => {
      const element = make('button', { type: 'button', 'aria-pressed': pressed }, text);
      element.addEventListener('click', () => set({ section: id }));
      return element;
    };
    const scenarios = [...new Set(data.sections.map((s) => s.scenario))];
    const points = (name) => data.sections.filter((s) => s.scenario === name);
    $('scenarios').replaceChildren(...scenarios.map((name) => button(name, name === s.scenario, middle(points(name)).id)));
    const own = points(s.scenario);
    $('points').replaceChildren(...(own.length > 1 ? own.map((p) => button(p.title.replace(`${p.scenario}, `, ''), p === s, p.id)) : []));
    document.querySelectorAll('.chosen').forEach((heading) => { heading.textContent = s.title; });
  };
  const middle = (list) => list[list.length >> 1];

  // Charts.
  const axis = (type, name, format, { ticks, ...more } = {}) => ({
    type, name, nameLocation: 'middle', nameGap: more.left ? 52 : 28, nameTextStyle: { color: css('--faint') },
    axisLabel: { formatter: format, color: css('--faint'), hideOverlap: true, customValues: ticks }, axisTick: { customValues: ticks },
    axisLine: { lineStyle: { color: css('--line') } }, splitLine: { show: !ticks || more.left, lineStyle: { color: css('--line'), opacity: 0.6 } }, ...more,
  });
  const base = (what) => ({
    animation: false, backgroundColor: 'transparent', textStyle: { color: css('--text') }, aria: { enabled: true, label: { description: what } },
    grid: { left: 66, right: 24, top: 16, bottom: 44 },
    tooltip: { confine: true, backgroundColor: css('--panel'), borderColor: css('--line'), textStyle: { color: css('--text') } },
  });
  const absent = (id, why) => {
    charts.get(id)?.dispose();
    charts.delete(id);
    const element = $(`chart-${id}`);
    element.className = 'none'; element.textContent = why;
    element.removeAttribute('role'); element.removeAttribute('aria-label');
    $(`figures-${id}`).replaceChildren();
  };
  const draw = (id, option) => {
    const element = $(`chart-${id}`);
    let chart = charts.get(id);
    if (!chart) {
      element.className = 'chart'; element.textContent = '';
      chart = echarts.init(element, null, { renderer: 'svg' });
      chart.on('click', ({ seriesId }) => { if (id !== 'heat' && servers.has(seriesId)) toggle(seriesId); });
      charts.set(id, chart);
    }
    if (chart.getWidth() !== element.clientWidth || chart.getHeight() !== element.clientHeight) chart.resize();
    chart.setOption(option, true);
    return chart;
  };
  const line = (server, points, more) => {
    const { colour, dash, mark } = look(server);
    const on = state.coloured.has(server);
    return { id: server, name: server, type: 'line', data: points, symbol: on ? mark : 'circle', symbolSize: on ? 8 : 5, z: on ? 3 : 2, triggerLineEvent: true,
      color: on ? colour : css('--other'), lineStyle: { type: on ? dash : 'solid', width: on ? 2 : 1, opacity: on ? 1 : 0.45 }, itemStyle: on ? {} : { opacity: 0.45 },
      emphasis: { focus: 'series', lineStyle: { width: 3, color: colour, opacity: 1 }, itemStyle: { color: colour, opacity: 1 } }, ...more };
  };
  // The names at the ends of the lines in colour, apart from each other.
  const names = (chart, series) => {
    const HEIGHT = 13;
    const ends = series.filter(({ id, data }) => state.coloured.has(id) && data.length).map(({ id, data }) => {
      const last = data.length - 1;
      const [, y] = chart.convertToPixel({ gridIndex: 0 }, data[last].value);
      return { id, data, last, y, to: y };
    }).sort((a, b) => a.y - b.y);
    ends.forEach((end, i) => { if (i) end.to = Math.max(end.to, ends[i - 1].to + HEIGHT); });
    const over = ends.length ? Math.max(0, ends[ends.length - 1].to - (chart.getHeight() - 44)) : 0;
    ends.reverse().forEach((end, i) => { end.to -= over; if (i) end.to = Math.min(end.to, ends[i - 1].to - HEIGHT, end.to + over); });
    chart.setOption({ series: ends.map(({ id, data, last, y, to }) => ({ id, data: data.map((point, i) => i === last
      ? { ...point, label: { show: true, position: 'right', formatter: id, color: look(id).colour, offset: [0, to - y] } } : point) })) });
  };
  const tabulate = (id, headings, rows) => {
    const cell = (tag, text, scope) => {
      const element = make(tag, scope ? { scope } : {}, text);
      element.classList.toggle('bad', /FAILED|INVALID|unanswered/.test(text));
      return element;
    };
    const line = ({ server, texts: [first, ...others] }) => make('tr', { 'data-server': server ?? null }, cell('th', first, 'row'), ...others.map((text) => cell('td', text)));
    $(`figures-${id}`).replaceChildren(make('table', {}, make('thead', {}, make('tr', {}, ...headings.map((text) => cell('th', text, 'col')))), make('tbody', {}, ...rows.map(line))));
  };
  const NO_LOG = 'No interval log is left of this run.';

  // The highest rate that was reached before one that was not; the sections are in the order of their rates.
  const knee = (points, sections) => {
    const reached = points.map((p) => p && !p.unranked ? !p.missed : null);
    const last = reached.lastIndexOf(true);
    const beyond = reached.indexOf(false, last + 1);
    const rate = (i) => `${count(sections[i].offered)}/s`;
    if (beyond < 0) return last < 0 ? DASH : `>= ${rate(last)}`;
    return last < 0 ? `< ${rate(beyond)}` : rate(last);
  };
  // One line for each server over the points of a scenario; `of` is what they differ by.
  const growth = (id, scenario, of, name) => {
    const sections = data.sections.filter((s) => s.scenario === scenario && of(s) !== null).sort((a, b) => of(a) - of(b));
    if (new Set(sections.map(of)).size < 2) return absent(id, 'This run has not two points of it; make bench PROFILE=standard has.');
    const { metric } = state;
    // Tenfold is as wide everywhere; none stands one step before the least.
    const least = Math.min(...sections.map(of).filter((x) => x > 0));
    const place = (x) => x > 0 ? Math.log10(x) : Math.log10(least) - 1;
    const points = [...servers.keys()].map((server) => sections.map((s) => {
      const own = row(s, server);
      if (!own?.figures || own.figures[metric] === null) return null;
      const { figures } = own;
      const { missed } = figures;
      const unranked = doubt(figures);
      return { x: of(s), us: figures[metric], interval: figures.intervals[metric] ?? null, missed, unranked,
        remark: (missed ? ` at ${figure(figures.rate)}` : '') + (unranked ? ` ${unranked}` : '') };
    }));
    const good = (p) => p && p.us > 0;
    const drawn = points.flat().filter(good);
    if (!drawn.length) return absent(id, `No server has a ${METRICS.get(metric)} here.`);
    const series = [...servers.keys()].map((server, i) => line(server, points[i].filter(good).map((p) => ({
      value: [place(p.x), Math.log10(p.us)], us: p.us, x: p.x, remark: p.remark,
      itemStyle: p.missed || p.unranked ? { color: css('--page'), borderColor: state.coloured.has(server) ? look(server).colour : css('--other'), borderWidth: 2 } : {} }))));
    const bands = [...servers.keys()].flatMap((server, i) => {
      const own = state.coloured.has(server) ? points[i].filter((p) => good(p) && p.interval?.[0] > 0) : [];
      const part = (which, value, more) => ({ id: `${server} ${which}`, type: 'line', silent: true, symbol: 'none', stack: server, lineStyle: { opacity: 0 }, z: 1, tooltip: { show: false },
        data: own.map((p) => [place(p.x), value(p)]), ...more });
      return own.length > 1 ? [part('low', (p) => Math.log10(p.interval[0])),
        part('high', (p) => Math.log10(p.interval[1] / p.interval[0]), { areaStyle: { color: look(server).colour, opacity: 0.15 } })] : [];
    });
    const [text, limit] = sections[0].goal ?? [null, null];
    if (text?.startsWith(`${METRICS.get(metric)}<`)) {
      series[0].markLine = { silent: true, symbol: 'none', data: [{ yAxis: Math.log10(limit) }], lineStyle: { color: css('--bad'), type: 'dashed' },
        label: { formatter: text, color: css('--bad'), position: 'insideStartTop' } };
    }
    const span = round([...drawn.map((p) => p.us), ...drawn.flatMap((p) => p.interval?.[0] > 0 ? p.interval : []), ...(limit && series[0].markLine ? [limit] : [])]);
    const xs = sections.map((s) => place(of(s)));
    const what = `${METRICS.get(metric)} of the response time over ${name}: a line for each of ${servers.size} servers, whose figures are in the table below it.`;
    const chart = draw(id, { ...base(what), grid: { left: 66, right: 96, top: 16, bottom: 44 }, series: [...series, ...bands],
      tooltip: { ...base().tooltip, trigger: 'item', formatter: (p) => p.data?.us ? `${escape(p.seriesName)}<br>${count(p.data.x)} ${name}<br>${METRICS.get(metric)} <b>${time(p.data.us)}</b>${escape(p.data.remark)}` : escape(p.seriesName) },
      xAxis: axis('value', name, (x) => count(sections.map(of).find((v) => Math.abs(place(v) - x) < 1e-9) ?? 0), { min: Math.min(...xs) - 0.05, max: Math.max(...xs) + 0.05, ticks: xs }),
      yAxis: axis('value', `${METRICS.get(metric)} of the response time`, (y) => time(10 ** y), { left: true, min: Math.log10(span.min), max: Math.log10(span.max), ticks: span.ticks.map(Math.log10) }) });
    names(chart, series);
    const knees = id === 'load';
    tabulate(id, [`${METRICS.get(metric)}, us`, ...(knees ? ['knee'] : []), ...sections.map((s) => count(of(s)) + (knees ? '/s' : ''))],
      [...servers.keys()].map((server, i) => ({ server, texts: [server, ...(knees ? [knee(points[i], sections)] : []), ...points[i].map((p) => p ? figure(p.us) + p.remark : DASH)] })));
  };
  const grow = () => {
    growth('idle', 'idle', (s) => s.idle, 'silent clients');
    growth('connections', 'active', (s) => s.connections, 'busy clients');
    growth('load', 'load', (s) => s.offered, 'requests/s offered');
  };

  const percentiles = () => {
    if (!$('percentiles').open) return;
    const rows = measured(section()).filter((row) => row.curve.length);
    if (!rows.length) return absent('percentiles', measured(section()).length ? NO_LOG : 'No server has a result here.');
    const points = rows.flatMap((row) => row.curve).filter(([, us]) => us > 0);
    const rarest = Math.max(...points.map(([x]) => x));
    const what = `Response time by percentile, ${section().title}: a line for each of ${rows.length} servers, whose figures are in the table below it.`;
    const span = round(points.map(([, us]) => us));
    const series = rows.map((row) => line(row.server, row.curve.filter(([, us]) => us > 0).map(([x, us]) => ({ value: [Math.log10(x), Math.log10(us)], x, us })), { symbolSize: 3 }));
    const chart = draw('percentiles', { ...base(what), grid: { left: 66, right: 110, top: 16, bottom: 44 }, series,
      tooltip: { ...base().tooltip, trigger: 'item', formatter: (p) => p.data?.us ? `${escape(p.seriesName)}<br>${share(p.data.x)} <b>${time(p.data.us)}</b>` : escape(p.seriesName) },
      xAxis: axis('value', 'percentile', (x) => share(10 ** x), { min: 0, max: Math.log10(rarest), ticks: [1, 2, 4, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7].filter((x) => x <= rarest).map(Math.log10) }),
      yAxis: axis('value', 'response time', (y) => time(10 ** y), { left: true, min: Math.log10(span.min), max: Math.log10(span.max), ticks: span.ticks.map(Math.log10) }) });
    names(chart, series);
    tabulate('percentiles', ['us', ...METRICS.values()],
      rows.map((row) => ({ server: row.server, texts: [label(row), ...[...METRICS.keys()].map((metric) => row.figures[metric] === null ? DASH : figure(row.figures[metric]))] })));
  };

  const options = (select, values) => {
    const before = select.value;
    select.replaceChildren(...values.map((value) => make('option', { value }, `${value}`)));
    if (values.map(String).includes(before)) select.value = before;
  };
  const heat = () => {
    if (!$('heat').open) return;
    const rows = measured(section()).filter((row) => row.trials.length);
    options($('heat-server'), rows.map((row) => row.server));
    const row = rows.find((r) => r.server === $('heat-server').value);
    options($('heat-trial'), row ? row.trials.map((t) => t.number) : []);
    const trial = row?.trials.find((t) => String(t.number) === $('heat-trial').value);
    if (!trial) return absent('heat', section().duration_s < 5 ? 'The trials of this table are shorter than 5 s.' : NO_LOG);
    // Ten ranges for each power of ten, from 1 us on.
    const low = Math.min(...trial.seconds.map((s) => s.first));
    const high = Math.max(...trial.seconds.map((s) => s.first + s.counts.length));
    const ranges = Array.from({ length: high - low }, (_, i) => time(10 ** ((low + i) / 10)));
    const columns = Array.from({ length: Math.max(...trial.seconds.map((s) => s.at)) + 1 }, (_, at) => at >= section().duration_s ? `${at + 1} (drain)` : `${at + 1}`);
    const cells = trial.seconds.flatMap((s) => s.counts.map((n, i) => [s.at, s.first + i - low, n])).filter((c) => c[2] > 0);
    draw('heat', {
      ...base(`The answers of ${row.server} in trial ${trial.number}, ${section().title}, by second and response time; the table below it has their numbers.`),
      grid: { left: 80, right: 90, top: 16, bottom: 48 },
      tooltip: { ...base().tooltip, formatter: (p) => `second ${columns[p.value[0]]}, from ${ranges[p.value[1]]}: <b>${p.value[2].toLocaleString('en')}</b> answers` },
      xAxis: axis('category', 'second', (v) => v, { data: columns }),
      yAxis: axis('category', 'response time, from', (v) => v, { left: true, data: ranges }),
      // What is hovered would be shown as a logarithm.
      visualMap: { type: 'continuous', hoverLink: false, min: 0, max: Math.max(...cells.map((c) => Math.log10(c[2] + 1))), dimension: 3, right: 0, top: 'middle', itemHeight: 120,
        text: ['many', 'few'], textStyle: { color: css('--faint') }, inRange: { color: [css('--few'), css('--some'), css('--many')] } },
      series: [{ type: 'heatmap', data: cells.map((c) => [...c, Math.log10(c[2] + 1)]), encode: { x: 0, y: 1, value: 3 } }],
    });
    const answers = (at, range) => { const s = trial.seconds.find((s) => s.at === at); return s ? s.counts[low + range - s.first] ?? 0 : 0; };
    tabulate('heat', ['answers from', ...columns.map((column) => column.replace(/^\d+/, '$& s'))],
      ranges.map((from, i) => ({ texts: [from, ...columns.map((_, at) => answers(at, i).toLocaleString('en'))] })).reverse());
  };

  const COSTS = [
    ['CPU, us a request', 'told', (f) => f.cpu_us],
    ['System calls a request', 'asking', (f) => f.syscalls],
    ['Context switches a request', 'blocking', (f) => f.context_switches],
    ['Memory, KiB a client', 'completed', (f) => f.memory_mib === null ? null : f.memory_mib * 1024 / section().clients],
  ];
  const costs = () => $('costs-tables').replaceChildren(...COSTS.map(([name, colour, of]) => {
    const rows = measured(section()).filter((row) => of(row.figures) !== null).sort((a, b) => of(a.figures) - of(b.figures));
    const most = Math.max(...rows.map((row) => of(row.figures)), 0);
    const bar = (x) => { const bar = make('div'); bar.style.width = most > 0 ? `${x / most * 100}%` : '0'; bar.style.background = `var(--${colour})`; return bar; };
    const lines = rows.map((row) => make('tr', { 'data-server': row.server }, make('th', { scope: 'row' }, label(row)), make('td', { class: 'bar', 'aria-hidden': 'true' }, bar(of(row.figures))), make('td', {}, figure(of(row.figures)))));
    return make('table', {}, make('caption', {}, name), make('tbody', {}, ...(lines.length ? lines : [make('tr', {}, make('td', { class: 'none' }, 'Could not be had on this machine.'))])));
  }));

  const chooser = () => {
    $('servers').replaceChildren(...[...FAMILIES.keys()].flatMap((family) => data.servers.filter((server) => server.family === family)).map(({ name, about, family }) => {
      const button = make('button', { type: 'button', class: family, title: about, 'aria-pressed': state.coloured.has(name), 'data-server': name }, name);
      button.addEventListener('click', () => toggle(name));
      return button;
    }));
    $('chosen-servers').textContent = `${state.coloured.size} of ${servers.size}`;
  };
  const toggle = (name) => {
    const coloured = new Set(state.coloured);
    if (!coloured.delete(name)) coloured.add(name);
    set({ coloured });
    [...$('servers').children].find((button) => button.dataset.server === name)?.focus({ preventScroll: true });
  };

  const all = () => {
    $('metric').value = state.metric;
    $('by-family').checked = state.byFamily;
    const present = new Set(data.servers.map((server) => server.family));
    $('families').replaceChildren(...[...FAMILIES].filter(([family]) => present.has(family)).map(([family, meaning]) => make('span', { class: family }, `\u25cf ${family}: ${meaning}`)));
    strips(); tabs(); ranking(); chooser(); grow(); costs(); percentiles(); heat();
  };
  const first = () => data.sections.length ? (document.querySelector('.card[data-section^="active-"]')?.dataset.section ?? data.sections[0].id) : null;
  const same = (a, b) => a.size === b.size && [...a].every((name) => b.has(name));
  const set = (change) => {
    Object.assign(state, change);
    const parts = new URLSearchParams();
    if (state.section !== first()) parts.set('s', state.section);
    if (state.metric !== 'p99') parts.set('p', state.metric);
    if (!same(state.coloured, usual())) parts.set('c', [...state.coloured].join(','));
    if (state.to) parts.set('to', state.to);
    if (state.byFamily) parts.set('by', 'family');
    history.replaceState(null, '', `#${parts}`);
    all();
  };
  const read = () => {
    const text = location.hash.slice(1);
    if (text && !text.includes('=')) {
      const part = $(text);
      if (part?.matches('details')) part.open = true;
      return part?.scrollIntoView();
    }
    const parts = new URLSearchParams(text);
    const known = (id) => data.sections.some((s) => s.id === id);
    state.section = known(parts.get('s')) ? parts.get('s') : first();
    state.metric = METRICS.has(parts.get('p')) ? parts.get('p') : 'p99';
    state.coloured = parts.has('c') ? new Set(parts.get('c').split(',').filter((name) => servers.has(name))) : usual();
    state.to = servers.has(parts.get('to')) ? parts.get('to') : null;
    state.byFamily = parts.get('by') === 'family';
    all();
  };

  state.section = first();
  all();
  if (location.hash) read();
  addEventListener('hashchange', read);
  document.querySelectorAll('.card a').forEach((link) => link.addEventListener('click', () => $('ranking').scrollIntoView()));
  $('metric').addEventListener('change', () => set({ metric: $('metric').value }));
  $('by-family').addEventListener('change', () => set({ byFamily: $('by-family').checked }));
  $('usual').addEventListener('click', () => set({ coloured: usual() }));
  $('all').addEventListener('click', () => set({ coloured: new Set(servers.keys()) }));
  $('none').addEventListener('click', () => set({ coloured: new Set() }));
  $('heat-server').addEventListener('change', heat);
  $('heat-trial').addEventListener('change', heat);
  $('percentiles').addEventListener('toggle', percentiles);
  $('heat').addEventListener('toggle', heat);
  const unfold = (box, tables) => $(box).addEventListener('change', () => document.querySelectorAll(tables).forEach((table) => table.classList.toggle('unfolded', $(box).checked)));
  unfold('all-points', '.matrix');
  unfold('all-columns', '#tables table');
  const download = (id, type, text) => $(id).addEventListener('click', () => { $(id).href = URL.createObjectURL(new Blob([text()], { type })); });
  download('download-csv', 'text/csv', () => JSON.parse($('csv').textContent));
  download('download-json', 'application/json', () => $('data').textContent);
  ['download-csv', 'download-json'].forEach((id) => { $(id).href = '#about'; });
  dark.addEventListener('change', all);
  addEventListener('resize', () => { charts.forEach((chart) => chart.resize()); grow(); percentiles(); });
  // Paper shows all.
  let folded = [];
  addEventListener('beforeprint', () => {
    folded = [...document.querySelectorAll('details:not([open])')];
    folded.forEach((part) => { part.open = true; });
    document.documentElement.classList.add('printed');
    document.querySelectorAll('.matrix, #tables table').forEach((table) => table.classList.add('unfolded'));
    all();
  });
  addEventListener('afterprint', () => {
    folded.forEach((part) => { part.open = false; });
    document.documentElement.classList.remove('printed');
    $('all-points').dispatchEvent(new Event('change')); $('all-columns').dispatchEvent(new Event('change'));
    all();
  });
})();
