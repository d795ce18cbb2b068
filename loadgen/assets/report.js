// The charts of report.html, drawn from the JSON in the page. Nothing is loaded.
(() => {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const off = new Set();
  const METRICS = new Map([...$('metric').options].map((option) => [option.value, option.textContent]));
  const charts = new Map();

  // Okabe and Ito's palette, which is told apart with any colour vision. The lengths have no factor in common, so that
  // 7 x 3 servers in a row differ in colour or dash, and those of like colour in their dash.
  const COLOURS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', null];
  const DASHES = ['solid', 'dashed', 'dotted'];
  // A disc, a square, a triangle, a diamond, a triangle on its head and a cross.
  const MARKS = ['M5 0A5 5 0 1 1 4.99 0Z', 'M0 0H10V10H0Z', 'M5 0L10 10H0Z', 'M5 0L10 5L5 10L0 5Z', 'M0 0H10L5 10Z',
    'M3.5 0H6.5V3.5H10V6.5H6.5V10H3.5V6.5H0V3.5H3.5Z'];
  // A percentile curve has one of so many points marked.
  const SPARSE = 12;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const look = (server) => {
    const i = data.servers.findIndex((s) => s.name === server);
    return { i, colour: COLOURS[i % COLOURS.length] || css('--text'), dash: DASHES[i % DASHES.length], mark: MARKS[i % MARKS.length] };
  };
  const shown = (row) => !off.has(row.server);
  const doubt = ({ verdict, unanswered }) => verdict !== 'VALID' ? verdict : unanswered ? `${unanswered.toLocaleString('en')} unanswered` : '';
  const label = (row) => doubt(row.figures) ? `${row.server} (${doubt(row.figures)})` : row.server;
  const time = (us) => us >= 1e6 ? `${+(us / 1e6).toPrecision(3)} s` : us >= 1e3 ? `${+(us / 1e3).toPrecision(3)} ms` : `${+us.toPrecision(3)} us`;
  const count = (n) => n >= 1e6 ? `${+(n / 1e6).toPrecision(3)}M` : n >= 1e3 ? `${+(n / 1e3).toPrecision(3)}k` : `${+n.toPrecision(3)}`;
  // As the tables at the end have it.
  const figure = (x) => x === null ? 'n/a' : x < 9.995 ? x.toFixed(2) : x < 99.95 ? x.toFixed(1) : Math.round(x).toLocaleString('en');
  const share = (x) => x <= 1 ? '0 %' : `${+((1 - 1 / x) * 100).toPrecision(Math.max(2, Math.ceil(Math.log10(x)) + 1))} %`;
  const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }[c]));

  const axis = (type, name, format, { ticks, ...more } = {}) => ({
    type, name, nameLocation: 'middle', nameGap: more.left ? 55 : 30, nameTextStyle: { color: css('--faint') },
    axisLabel: { formatter: format, color: css('--faint'), hideOverlap: true, customValues: ticks }, axisTick: { customValues: ticks },
    axisLine: { lineStyle: { color: css('--line') } }, splitLine: { lineStyle: { color: css('--line'), opacity: 0.6 } }, minorSplitLine: { show: false }, ...more,
  });
  // From the round figure below the least of these values to that above the greatest.
  const round = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const steps = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) steps.push(...[1, 2, 5].map((n) => +`${n}e${power}`));
    const [min, max] = [Math.max(...steps.filter((n) => n <= low)), Math.min(...steps.filter((n) => n >= high))];
    const few = max / min > 200 ? (n) => Number.isInteger(Math.log10(n)) : () => true;
    return { min, max, ticks: steps.filter((n) => n >= min && n <= max && few(n)) };
  };
  const base = (what) => ({
    animation: false, backgroundColor: 'transparent', textStyle: { color: css('--text') }, aria: { enabled: true, label: { description: what } },
    grid: { left: 70, right: 24, top: 16, bottom: 48 },
    tooltip: { confine: true, backgroundColor: css('--panel'), borderColor: css('--line'), textStyle: { color: css('--text') } },
  });
  const line = (server, points, more) => {
    const { colour, dash, mark } = look(server);
    return { id: server, name: server, type: 'line', data: points, symbol: `path://${mark}`, symbolSize: 8, color: colour, lineStyle: { type: dash, width: 2, color: colour },
      emphasis: { focus: 'series', lineStyle: { width: 4, color: colour } }, ...more };
  };
  const near = (format) => ({
    trigger: 'axis', axisPointer: { type: 'cross', label: { formatter: (p) => p.axisDimension === 'x' ? format(p.value) : time(p.value) } },
    formatter: (points) => {
      const rows = [...points].sort((a, b) => b.data[1] - a.data[1]).map((p) => `${p.marker}${escape(p.seriesName)} <b>${time(p.data[1])}</b>`);
      return points.length ? `${format(points[0].data[0])}<br>${rows.slice(0, 24).join('<br>')}` : '';
    },
  });

  const absent = (id, why) => {
    charts.get(id)?.dispose();
    charts.delete(id);
    const element = $(`chart-${id}`);
    element.className = 'none'; element.textContent = why; element.style.height = '';
    element.removeAttribute('role'); element.removeAttribute('aria-label');
    $(`beside-${id}`)?.replaceChildren();
  };
  // Why there is nothing to draw of these rows.
  const reason = (rows, lacking) => off.size === data.servers.length ? 'No server is switched on.'
    : rows.length ? lacking : 'None of the servers that are switched on has a result here.';
  const draw = (id, option) => {
    const element = $(`chart-${id}`);
    let chart = charts.get(id);
    if (!chart) {
      element.className = 'chart'; element.textContent = '';
      chart = echarts.init(element, null, { renderer: 'svg' });
      charts.set(id, chart);
    }
    if (chart.getWidth() !== element.clientWidth || chart.getHeight() !== element.clientHeight) chart.resize();
    chart.setOption(option, true);
  };

  // How a server's line looks.
  const swatch = (server) => {
    const { colour, dash, mark } = look(server);
    const node = (tag, attributes) => {
      const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
      Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
      return element;
    };
    const svg = node('svg', { class: 'swatch', viewBox: '0 0 30 10', 'aria-hidden': 'true' });
    svg.append(node('path', { d: 'M0 5H30', stroke: colour, 'stroke-width': 2, 'stroke-dasharray': { solid: 'none', dashed: '6 3', dotted: '2 2' }[dash] }),
      node('path', { d: mark, fill: colour, transform: 'translate(10.5 .5) scale(.9)' }));
    return svg;
  };
  // The table beside a chart: the figures that it draws. A row is of a server, or begins with its heading.
  const tabulate = (id, headings, rows) => {
    const cell = (tag, text, scope) => {
      const element = document.createElement(tag);
      if (scope) element.scope = scope;
      element.textContent = text; element.classList.toggle('bad', /FAILED|INVALID|unanswered/.test(text));
      return element;
    };
    const line = ({ server, texts: [first, ...others] }) => {
      const tr = document.createElement('tr');
      tr.append(cell('th', first, 'row'), ...others.map((text) => cell('td', text)));
      if (server) { tr.dataset.server = server; tr.firstChild.prepend(swatch(server)); }
      return tr;
    };
    const table = document.createElement('table');
    table.setAttribute('aria-label', $(`beside-${id}`).getAttribute('aria-label'));
    table.createTHead().insertRow().append(...headings.map((text) => cell('th', text, 'col')));
    table.createTBody().append(...rows.map(line));
    $(`beside-${id}`).replaceChildren(table);
  };

  const section = () => data.sections.find((s) => s.id === $('section').value) || data.sections[0];
  const measured = (s) => s.rows.filter((row) => row.figures);
  const NO_LOG = 'No interval log is left of this run.';

  const percentiles = () => {
    const chosen = measured(section()).filter(shown);
    const rows = chosen.filter((row) => row.curve.length);
    if (!rows.length) return absent('percentiles', reason(chosen, NO_LOG));
    const points = rows.flatMap((row) => row.curve);
    const what = `Response time by percentile, ${section().title}: a line for each of ${rows.length} servers, whose figures are in the table beside it.`;
    const rarest = Math.max(...points.map(([x]) => x));
    draw('percentiles', {
      ...base(what), tooltip: { ...base().tooltip, ...near(share) },
      xAxis: axis('log', 'percentile', share, { min: 1, max: rarest, ticks: [1, 2, 4, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7].filter((x) => x <= rarest) }),
      yAxis: axis('log', 'response time', time, { left: true, ...round(points.map(([, us]) => us).filter((us) => us > 0)) }),
      series: rows.map((row) => line(row.server,
        row.curve.map((value, i) => ({ value, symbolSize: (i + look(row.server).i) % SPARSE ? 0 : 8 })), { name: label(row) })),
    });
    tabulate('percentiles', ['us', ...METRICS.values()],
      rows.map((row) => ({ server: row.server, texts: [label(row), ...[...METRICS.keys()].map((metric) => row.figures[metric] === null ? '\u2013' : figure(row.figures[metric]))] })));
  };

  // The highest rate that was reached before one that was not; the sections are in the order of their rates.
  const knee = (points, sections) => {
    const reached = points.map((p) => p && !p.unranked ? !p.missed : null);
    const last = reached.lastIndexOf(true);
    const beyond = reached.indexOf(false, last + 1);
    const rate = (i) => `${count(sections[i].offered)}/s`;
    if (beyond < 0) return { text: last < 0 ? '\u2013' : `>= ${rate(last)}` };
    return last < 0 ? { text: `< ${rate(beyond)}` } : { point: points[last], text: rate(last) };
  };
  // One line for each server over the sections of a scenario; x is what they differ by.
  const over = (id, of, x, name, why) => {
    const sections = scenario(of).sort((a, b) => x(a) - x(b));
    if (new Set(sections.map(x)).size < 2) return absent(id, why);
    const metric = $('metric').value;
    const servers = data.servers.map((s) => s.name).filter((name) => shown({ server: name }));
    // In an open loop a point stands where the server got to.
    const points = servers.map((server) => sections.map((s) => {
      const row = measured(s).find((r) => r.server === server);
      if (!row || row.figures[metric] === null) return null;
      const missed = row.figures.notes.some((note) => note.startsWith('rate-not-reached'));
      const unranked = doubt(row.figures);
      return { at: s.offered === null ? Math.max(x(s), 1) : row.figures.rate, us: row.figures[metric], missed, unranked,
        remark: (missed ? ` at ${figure(row.figures.rate)}` : '') + (unranked ? ` ${unranked}` : '') };
    }));
    const drawn = points.flat().filter((p) => p && p.at > 0 && p.us > 0);
    if (!drawn.length) return absent(id, reason([], ''));
    const knees = id === 'load' ? points.map((own) => knee(own, sections)) : null;
    const series = servers.map((server, i) => line(server, points[i].filter((p) => drawn.includes(p)).map((p) => {
      const bends = knees !== null && knees[i].point === p;
      return { value: [p.at, p.us], remark: p.remark + (bends ? ' (knee)' : ''), symbolSize: bends ? 16 : 8,
        itemStyle: p.missed || p.unranked ? { color: css('--page'), borderColor: look(server).colour, borderWidth: 2 } : {} };
    })));
    const tooltip = { ...base().tooltip, trigger: 'item',
      formatter: (p) => `${p.marker}${escape(p.seriesName)}<br>${count(p.value[0])} ${name}<br>${METRICS.get(metric)} <b>${time(p.value[1])}</b>${p.data.remark}` };
    const ticks = sections.map((s) => Math.max(x(s), 1));
    const [low, high] = [Math.min(...ticks, ...drawn.map((p) => p.at)), Math.max(...ticks, ...drawn.map((p) => p.at))];
    const what = `${METRICS.get(metric)} of the response time over ${name}: a line for each of ${servers.length} servers, whose figures are in the table beside it.`;
    draw(id, { ...base(what), tooltip, series, xAxis: axis('log', name, count, { min: low / 1.1, max: high * 1.1, ticks }),
      yAxis: axis('log', `${METRICS.get(metric)} of the response time`, time, { left: true, ...round(drawn.map((p) => p.us)) }) });
    tabulate(id, [`${METRICS.get(metric)}, us`, ...(knees ? ['knee'] : []), ...sections.map((s) => s.offered === null ? count(x(s)) : `${count(x(s))}/s`)],
      servers.map((server, i) => ({ server, texts: [server, ...(knees ? [knees[i].text] : []), ...points[i].map((p) => p ? figure(p.us) + p.remark : '\u2013')] })));
  };
  const scenario = (name) => data.sections.filter((s) => s.scenario === name);
  const scenarios = () => {
    over('load', 'load', (s) => s.offered, 'answers a second', 'This run has no rising rates; the scenario load (make bench PROFILE=standard) has.');
    over('connections', 'active', (s) => s.connections, 'connections', 'This run has one number of connections; make bench PROFILE=standard has more.');
    over('idle', 'idle', (s) => s.idle, 'idle connections', 'This run has one number of idle connections; make bench PROFILE=standard has more.');
  };

  const options = (select, values, text) => {
    const before = select.value;
    select.replaceChildren(...values.map((value) => { const o = document.createElement('option'); o.value = value; o.textContent = text(value); return o; }));
    if (values.map(String).includes(before)) select.value = before;
  };
  const heat = () => {
    const chosen = measured(section()).filter(shown);
    const rows = chosen.filter((row) => row.trials.length);
    options($('heat-server'), rows.map((row) => row.server), (s) => s);
    const row = rows.find((r) => r.server === $('heat-server').value);
    options($('heat-trial'), row ? row.trials.map((t) => t.number) : [], (n) => `${n}`);
    const trial = row && row.trials.find((t) => String(t.number) === $('heat-trial').value);
    $('heat-short').hidden = !trial || trial.seconds.length > 1;
    if (!trial) return absent('heat', reason(chosen, NO_LOG));
    // Ten ranges for each power of ten, from 1 us on.
    const low = Math.min(...trial.seconds.map((s) => s.first));
    const high = Math.max(...trial.seconds.map((s) => s.first + s.counts.length));
    const ranges = Array.from({ length: high - low }, (_, i) => time(10 ** ((low + i) / 10)));
    const columns = Array.from({ length: Math.max(...trial.seconds.map((s) => s.at)) + 1 }, (_, at) => at >= section().duration_s ? `${at + 1} (drain)` : `${at + 1}`);
    const cells = trial.seconds.flatMap((s) => s.counts.map((n, i) => [s.at, s.first + i - low, n])).filter((c) => c[2] > 0);
    draw('heat', {
      ...base(`The answers of ${row.server} in trial ${trial.number}, ${section().title}, by second and response time; the table beside it has their numbers.`),
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

  const COSTS = new Map([
    ['cpu', ['CPU, us', (f) => f.cpu_us]],
    ['syscalls', ['system calls', (f) => f.syscalls]],
    ['switches', ['switches', (f) => f.context_switches]],
    ['memory', ['KiB', (f) => f.memory_mib === null ? null : f.memory_mib * 1024 / section().clients]],
  ]);
  const bars = (id, rows, name, value) => {
    const known = rows.filter((row) => value(row.figures) !== null).sort((a, b) => value(b.figures) - value(a.figures));
    if (!known.length) return absent(id, reason(rows, 'Could not be had on this machine.'));
    $(`chart-${id}`).style.height = `${known.length * 20 + 50}px`;
    draw(id, {
      ...base(`What it cost, ${name}, ${section().title}: a bar for each of ${known.length} servers, whose figures are in the table beside it.`),
      grid: { left: 130, right: 56, top: 4, bottom: 28 },
      tooltip: { ...base().tooltip, formatter: (p) => `${escape(label(known[p.dataIndex]))}: <b>${figure(p.value)}</b>` },
      xAxis: axis('value', '', count, { splitNumber: 3 }),
      yAxis: axis('category', '', (v) => v, { data: known.map(label) }),
      series: [{ type: 'bar', data: known.map((row) => ({ name: row.server, value: value(row.figures), itemStyle: { color: look(row.server).colour } })), emphasis: { focus: 'self' },
        label: { show: true, position: 'right', color: css('--text'), formatter: (p) => figure(p.value) } }],
    });
  };
  const costs = () => {
    const rows = measured(section()).filter(shown);
    COSTS.forEach(([name, value], id) => bars(id, rows, name, value));
    if (!rows.length) return $('beside-costs').replaceChildren();
    tabulate('costs', ['', ...[...COSTS.values()].map(([name]) => name)],
      rows.map((row) => ({ server: row.server, texts: [label(row), ...[...COSTS.values()].map(([, value]) => figure(value(row.figures)))] })));
  };

  const all = () => {
    document.querySelectorAll('.chosen').forEach((heading) => { heading.textContent = section().title; });
    percentiles(); scenarios(); heat(); costs();
    document.querySelectorAll('.wide [data-server], .notes [data-server]').forEach((element) => { element.hidden = off.has(element.dataset.server); });
    document.querySelectorAll('tbody.apart').forEach((body) => { body.hidden = !body.querySelector('tr[data-server]:not([hidden])'); });
    document.querySelectorAll('#servers input').forEach((box) => { box.checked = !off.has(box.dataset.server); });
    $('chosen-servers').textContent = `${data.servers.length - off.size} of ${data.servers.length}`;
  };
  const choose = (without) => { off.clear(); without.forEach((s) => off.add(s.name)); all(); };
  const swatches = () => {
    $('servers').replaceChildren(...data.servers.map(({ name, about }) => {
      const server = document.createElement('span');
      server.dataset.server = name; server.title = about;
      const box = document.createElement('input');
      box.type = 'checkbox'; box.dataset.server = name;
      box.addEventListener('change', () => { if (box.checked) off.delete(name); else off.add(name); all(); });
      const label = document.createElement('label');
      label.append(box, swatch(name), name);
      const only = document.createElement('button');
      only.type = 'button'; only.className = 'only'; only.textContent = 'only';
      only.setAttribute('aria-label', `only ${name}`);
      only.addEventListener('click', () => choose(data.servers.filter((s) => s.name !== name)));
      server.append(label, only);
      return server;
    }));
  };
  // What is pointed at in a legend stands out in all charts.
  let lit = null;
  const light = (event) => {
    const server = event.target.closest('.controls [data-server], .beside [data-server]')?.dataset.server ?? null;
    if (server === lit) return;
    const act = (type, name) => charts.forEach((chart, id) => chart.dispatchAction(COSTS.has(id) ? { type, seriesIndex: 0, name } : { type, seriesId: name }));
    if (lit !== null) act('downplay', lit);
    if (server !== null) act('highlight', server);
    lit = server;
  };

  options($('section'), data.sections.map((s) => s.id), (id) => data.sections.find((s) => s.id === id).title);
  // On a small screen the servers would cover the charts.
  $('choice').open = !matchMedia('(max-width: 40rem), (max-height: 31rem)').matches;
  swatches();
  all();
  $('section').addEventListener('change', all);
  $('metric').addEventListener('change', scenarios);
  $('heat-server').addEventListener('change', heat);
  $('heat-trial').addEventListener('change', heat);
  $('all').addEventListener('click', () => choose([]));
  $('none').addEventListener('click', () => choose(data.servers));
  document.addEventListener('mouseover', light);
  document.addEventListener('focusin', light);
  const root = document.documentElement;
  const bar = $('controls');
  // A heading that is linked to is not to be covered by the bar.
  new ResizeObserver(() => { root.style.scrollPaddingTop = getComputedStyle(bar).position === 'sticky' ? `${bar.offsetHeight}px` : ''; }).observe(bar);
  dark.addEventListener('change', () => { swatches(); all(); });
  addEventListener('resize', () => charts.forEach((chart) => chart.resize()));
  addEventListener('beforeprint', () => { root.classList.add('printed'); all(); });
  addEventListener('afterprint', () => { root.classList.remove('printed'); all(); });
})();
