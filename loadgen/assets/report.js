// The charts of report.html, drawn from the JSON in the page. Nothing is loaded.
(() => {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const off = new Set();
  const METRICS = new Map([...$('metric').options].map((option) => [option.value, option.textContent]));
  const charts = new Map();

  // Okabe and Ito's palette, which is told apart with any colour vision; dashes and marks tell the rest.
  const COLOURS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', null];
  const DASHES = ['solid', 'dashed', 'dotted'];
  const MARKS = ['circle', 'rect', 'triangle', 'diamond', 'roundRect', 'arrow'];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const look = (server) => {
    const i = data.servers.findIndex((s) => s.name === server);
    return { colour: COLOURS[i % COLOURS.length] || css('--text'), dash: DASHES[Math.floor(i / COLOURS.length) % DASHES.length], mark: MARKS[i % MARKS.length] };
  };
  const shown = (row) => !off.has(row.server);
  const label = (row) => row.figures.verdict === 'VALID' ? row.server : `${row.server} (INVALID)`;
  const time = (us) => us >= 1e6 ? `${+(us / 1e6).toPrecision(3)} s` : us >= 1e3 ? `${+(us / 1e3).toPrecision(3)} ms` : `${+us.toPrecision(3)} us`;
  const count = (n) => n >= 1e6 ? `${+(n / 1e6).toPrecision(3)}M` : n >= 1e4 ? `${+(n / 1e3).toPrecision(3)}k` : `${+n.toPrecision(3)}`;
  // As the tables at the end have it.
  const figure = (x) => x === null ? 'n/a' : x < 9.995 ? x.toFixed(2) : x < 99.95 ? x.toFixed(1) : Math.round(x).toLocaleString('en');
  const share = (x) => x <= 1 ? '0 %' : `${+((1 - 1 / x) * 100).toPrecision(Math.max(2, Math.ceil(Math.log10(x)) + 1))} %`;
  const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }[c]));

  const axis = (type, name, format, more) => ({
    type, name, nameLocation: 'middle', nameGap: type === 'log' && more && more.left ? 55 : 30, nameTextStyle: { color: css('--faint') },
    axisLabel: { formatter: format, color: css('--faint'), hideOverlap: true }, axisLine: { lineStyle: { color: css('--line') } },
    splitLine: { lineStyle: { color: css('--line'), opacity: 0.6 } }, minorSplitLine: { show: false }, ...more,
  });
  const base = () => ({
    animation: false, backgroundColor: 'transparent', textStyle: { color: css('--text') }, aria: { enabled: true },
    grid: { left: 70, right: 24, top: 16, bottom: 48 },
    tooltip: { confine: true, backgroundColor: css('--panel'), borderColor: css('--line'), textStyle: { color: css('--text') } },
  });
  const line = (server, points, more) => {
    const { colour, dash, mark } = look(server);
    return { name: server, type: 'line', data: points, symbol: mark, symbolSize: 6, color: colour, lineStyle: { type: dash, width: 2, color: colour }, ...more };
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
    $(`beside-${id}`)?.replaceChildren();
  };
  const draw = (id, option) => {
    const element = $(`chart-${id}`);
    let chart = charts.get(id);
    if (!chart) {
      element.className = 'chart'; element.textContent = '';
      chart = echarts.init(element, null, { renderer: 'svg' });
      charts.set(id, chart);
    }
    chart.setOption(option, true);
  };

  // The table beside a chart: the figures that it draws.
  const tabulate = (id, headings, rows) => {
    const row = (tag, texts) => {
      const tr = document.createElement('tr');
      tr.append(...texts.map((text) => { const e = document.createElement(tag); e.textContent = text; e.classList.toggle('bad', text.includes('INVALID')); return e; }));
      return tr;
    };
    const table = document.createElement('table');
    table.createTHead().append(row('th', headings));
    table.createTBody().append(...rows.map((texts) => row('td', texts)));
    $(`beside-${id}`).replaceChildren(table);
  };

  const section = () => data.sections.find((s) => s.id === $('section').value) || data.sections[0];
  const measured = (s) => s.rows.filter((row) => row.figures);

  const percentiles = () => {
    const rows = measured(section()).filter(shown).filter((row) => row.curve.length);
    draw('percentiles', {
      ...base(), tooltip: { ...base().tooltip, ...near(share) },
      xAxis: axis('log', 'percentile', share, { min: 1 }),
      yAxis: axis('log', 'response time', time, { left: true }),
      series: rows.map((row) => ({ ...line(row.server, row.curve, { showSymbol: false }), name: label(row) })),
    });
    tabulate('percentiles', ['us', ...METRICS.values()], rows.map((row) => [label(row), ...[...METRICS.keys()].map((metric) => figure(row.figures[metric]))]));
  };

  // One line for each server over the sections of a scenario; x is what they differ by.
  const over = (id, sections, x, name, why) => {
    if (new Set(sections.map(x)).size < 2) return absent(id, why);
    const metric = $('metric').value;
    const servers = data.servers.map((s) => s.name).filter((name) => shown({ server: name }));
    // In an open loop a point stands where the server got to.
    const points = servers.map((server) => sections.map((s) => {
      const row = measured(s).find((r) => r.server === server);
      if (!row || row.figures[metric] === null) return null;
      const missed = row.figures.notes.some((note) => note.startsWith('rate-not-reached'));
      const invalid = row.figures.verdict !== 'VALID';
      return { at: s.offered === null ? Math.max(x(s), 1) : row.figures.rate, us: row.figures[metric], hollow: missed || invalid,
        remark: (missed ? ` at ${figure(row.figures.rate)}` : '') + (invalid ? ' INVALID' : '') };
    }));
    const series = servers.map((server, i) => line(server, points[i].filter((p) => p && p.at > 0 && p.us > 0).map((p) => ({
      value: [p.at, p.us], remark: p.remark, symbol: p.hollow ? look(server).mark.replace(/^./, (c) => `empty${c.toUpperCase()}`) : look(server).mark,
    }))));
    const tooltip = { ...base().tooltip, trigger: 'item',
      formatter: (p) => `${p.marker}${escape(p.seriesName)}<br>${count(p.value[0])} ${name}<br>${METRICS.get(metric)} <b>${time(p.value[1])}</b>${p.data.remark}` };
    draw(id, { ...base(), tooltip, xAxis: axis('log', name, count), yAxis: axis('log', METRICS.get(metric), time, { left: true }), series });
    tabulate(id, [`${METRICS.get(metric)}, us`, ...sections.map((s) => s.offered === null ? count(x(s)) : `${count(x(s))}/s`)],
      servers.map((server, i) => [server, ...points[i].map((p) => p ? figure(p.us) + p.remark : '\u2013')]));
  };
  const scenario = (name) => data.sections.filter((s) => s.scenario === name);
  const scenarios = () => {
    over('load', scenario('load'), (s) => s.offered, 'answers a second', 'This run has no rising rates; the scenario load (make bench PROFILE=standard) has.');
    over('connections', scenario('active'), (s) => s.connections, 'connections', 'This run has one number of connections; make bench PROFILE=standard has more.');
    over('idle', scenario('idle'), (s) => s.idle, 'idle connections', 'This run has one number of idle connections; make bench PROFILE=standard has more.');
  };

  const options = (select, values, text) => {
    const before = select.value;
    select.replaceChildren(...values.map((value) => { const o = document.createElement('option'); o.value = value; o.textContent = text(value); return o; }));
    if (values.map(String).includes(before)) select.value = before;
  };
  const heat = () => {
    const rows = measured(section()).filter((row) => row.trials.length);
    options($('heat-server'), rows.map((row) => row.server), (s) => s);
    const row = rows.find((r) => r.server === $('heat-server').value);
    options($('heat-trial'), row ? row.trials.map((t) => t.number) : [], (n) => `${n}`);
    const trial = row && row.trials.find((t) => String(t.number) === $('heat-trial').value);
    if (!trial) return absent('heat', 'No interval log is left of this run.');
    // Ten ranges for each power of ten, from 1 us on.
    const low = Math.min(...trial.seconds.map((s) => s.first));
    const high = Math.max(...trial.seconds.map((s) => s.first + s.counts.length));
    const ranges = Array.from({ length: high - low }, (_, i) => time(10 ** ((low + i) / 10)));
    const cells = trial.seconds.flatMap((s, x) => s.counts.map((n, i) => [x, s.first + i - low, n])).filter((c) => c[2] > 0);
    draw('heat', {
      ...base(), grid: { left: 80, right: 90, top: 16, bottom: 48 },
      tooltip: { ...base().tooltip, formatter: (p) => `second ${p.value[0] + 1}, from ${ranges[p.value[1]]}: <b>${p.value[2]}</b> answers` },
      xAxis: axis('category', 'second', (v) => v, { data: trial.seconds.map((_, i) => i + 1) }),
      yAxis: axis('category', '', (v) => v, { data: ranges }),
      visualMap: { type: 'continuous', min: 0, max: Math.max(...cells.map((c) => Math.log10(c[2] + 1))), dimension: 3, right: 0, top: 'middle', itemHeight: 120, text: ['many', 'few'],
        textStyle: { color: css('--faint') }, inRange: { color: dark.matches ? ['#1d2a3a', '#56B4E9', '#ffffff'] : ['#e3eef7', '#0072B2', '#001a2b'] } },
      series: [{ type: 'heatmap', data: cells.map((c) => [...c, Math.log10(c[2] + 1)]), encode: { x: 0, y: 1, value: 3 } }],
    });
    const answers = (s, range) => s.counts[low + range - s.first] ?? 0;
    tabulate('heat', ['answers from', ...trial.seconds.map((_, i) => `${i + 1} s`)],
      ranges.map((from, i) => [from, ...trial.seconds.map((s) => answers(s, i).toLocaleString('en'))]).reverse());
  };

  const COSTS = new Map([
    ['cpu', ['CPU, us', (f) => f.cpu_us]],
    ['syscalls', ['system calls', (f) => f.syscalls]],
    ['switches', ['switches', (f) => f.context_switches]],
    ['memory', ['KiB', (f) => f.memory_mib === null ? null : f.memory_mib * 1024 / section().clients]],
  ]);
  const bars = (id, rows, value) => {
    const known = rows.filter((row) => value(row.figures) !== null).sort((a, b) => value(b.figures) - value(a.figures));
    if (!known.length) return absent(id, 'Could not be had on this machine.');
    $(`chart-${id}`).style.height = `${known.length * 20 + 50}px`;
    draw(id, {
      ...base(), grid: { left: 130, right: 56, top: 4, bottom: 28 },
      tooltip: { ...base().tooltip, formatter: (p) => `${escape(p.name)}: <b>${figure(p.value)}</b>` },
      xAxis: axis('value', '', count, { splitNumber: 3 }),
      yAxis: axis('category', '', (v) => v, { data: known.map(label) }),
      series: [{ type: 'bar', data: known.map((row) => ({ value: value(row.figures), itemStyle: { color: look(row.server).colour } })),
        label: { show: true, position: 'right', color: css('--text'), formatter: (p) => figure(p.value) } }],
    });
    charts.get(id).resize();
  };
  const costs = () => {
    const rows = measured(section()).filter(shown);
    COSTS.forEach(([, value], id) => bars(id, rows, value));
    tabulate('costs', ['', ...[...COSTS.values()].map(([name]) => name)], rows.map((row) => [label(row), ...[...COSTS.values()].map(([, value]) => figure(value(row.figures)))]));
  };

  const all = () => {
    percentiles(); scenarios(); heat(); costs();
    document.querySelectorAll('tr[data-server]').forEach((row) => { row.hidden = off.has(row.dataset.server); });
  };
  const swatches = () => {
    $('servers').replaceChildren(...data.servers.map(({ name, about }) => {
      const { colour, dash } = look(name);
      const label = document.createElement('label');
      label.title = about;
      const box = document.createElement('input');
      box.type = 'checkbox'; box.checked = !off.has(name); box.dataset.server = name;
      box.addEventListener('change', () => { if (box.checked) off.delete(name); else off.add(name); all(); });
      const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
      svg.setAttribute('width', '26'); svg.setAttribute('height', '10');
      const stroke = document.createElementNS('http://www.w3.org/2000/svg', 'path');
      stroke.setAttribute('d', 'M1 5H25'); stroke.setAttribute('stroke', colour); stroke.setAttribute('stroke-width', '3');
      stroke.setAttribute('stroke-dasharray', { solid: 'none', dashed: '7 4', dotted: '2 3' }[dash]);
      svg.append(stroke);
      label.append(box, svg, ` ${name}`);
      return label;
    }));
  };

  options($('section'), data.sections.map((s) => s.id), (id) => data.sections.find((s) => s.id === id).title);
  swatches();
  all();
  $('section').addEventListener('change', all);
  $('metric').addEventListener('change', scenarios);
  $('heat-server').addEventListener('change', heat);
  $('heat-trial').addEventListener('change', heat);
  $('all').addEventListener('click', () => { off.clear(); swatches(); all(); });
  $('none').addEventListener('click', () => { data.servers.forEach((s) => off.add(s.name)); swatches(); all(); });
  dark.addEventListener('change', () => { swatches(); all(); });
  const resize = () => charts.forEach((chart) => chart.resize());
  addEventListener('resize', resize);
  addEventListener('beforeprint', resize);
})();
