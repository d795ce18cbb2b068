// The charts of report.html, drawn from the JSON in the page. Nothing is loaded.
(() => {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const off = new Set();
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
  const time = (us) => us >= 1e6 ? `${+(us / 1e6).toPrecision(3)} s` : us >= 1e3 ? `${+(us / 1e3).toPrecision(3)} ms` : `${+us.toPrecision(3)} us`;
  const count = (n) => n >= 1e6 ? `${+(n / 1e6).toPrecision(3)}M` : n >= 1e4 ? `${+(n / 1e3).toPrecision(3)}k` : `${+n.toPrecision(3)}`;
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

  const draw = (id, option, why) => {
    const element = $(id);
    let chart = charts.get(id);
    if (!option) {
      if (chart) { chart.dispose(); charts.delete(id); }
      element.className = 'none'; element.textContent = why;
      return;
    }
    if (!chart) {
      element.className = 'chart'; element.textContent = '';
      chart = echarts.init(element, null, { renderer: 'svg' });
      charts.set(id, chart);
    }
    chart.setOption(option, true);
  };

  const section = () => data.sections.find((s) => s.id === $('section').value) || data.sections[0];
  const measured = (s) => s.rows.filter((row) => row.figures);

  const percentiles = () => {
    const rows = measured(section()).filter(shown).filter((row) => row.curve.length);
    draw('chart-percentiles', {
      ...base(), tooltip: { ...base().tooltip, ...near(share) },
      xAxis: axis('log', 'percentile', share, { min: 1 }),
      yAxis: axis('log', 'response time', time, { left: true }),
      series: rows.map((row) => line(row.server, row.curve, { showSymbol: false })),
    });
  };

  // One line for each server over the sections of a scenario.
  const over = (id, sections, x, name, format, why) => {
    const metric = $('metric').value;
    if (new Set(sections.map((s) => x(s))).size < 2 && sections.every((s) => s.offered === null)) return draw(id, null, why);
    const servers = data.servers.map((s) => s.name).filter((s) => !off.has(s));
    const series = servers.map((server) => {
      const points = sections.flatMap((s) => measured(s).filter((row) => row.server === server).map((row) => ({
        value: [x(s, row), row.figures[metric]],
        symbol: row.figures.notes.includes('rate-not-reached') || row.figures.verdict !== 'VALID' ? `empty${look(server).mark[0].toUpperCase()}${look(server).mark.slice(1)}` : look(server).mark,
      }))).filter((p) => p.value[0] > 0 && p.value[1] > 0);
      return line(server, points);
    }).filter((s) => s.data.length);
    const tooltip = { ...base().tooltip, trigger: 'item', formatter: (p) => `${p.marker}${escape(p.seriesName)}<br>${format(p.value[0])}<br>${metric.replace('_', '.')} <b>${time(p.value[1])}</b>` };
    draw(id, { ...base(), tooltip, xAxis: axis('log', name, count), yAxis: axis('log', metric.replace('_', '.'), time, { left: true }), series });
  };
  const scenario = (name) => data.sections.filter((s) => s.scenario === name);
  const scenarios = () => {
    const open = data.sections.filter((s) => s.offered !== null && s.scenario === 'load');
    if (open.length < 2) draw('chart-load', null, 'This run has no rising rates; the scenario load (make bench PROFILE=standard) has.');
    else over('chart-load', open, (s, row) => row ? row.figures.rate : s.offered, 'answers a second', (v) => `${count(v)} a second`);
    over('chart-connections', scenario('active'), (s) => s.connections, 'connections', (v) => `${count(v)} connections`, 'This run has one number of connections; make bench PROFILE=standard has more.');
    over('chart-idle', scenario('idle'), (s) => Math.max(s.idle, 1), 'idle connections', (v) => `${count(v)} idle`, 'This run has one number of idle connections; make bench PROFILE=standard has more.');
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
    if (!trial) return draw('chart-heat', null, 'No interval log is left of this run.');
    // Ten ranges for each power of ten, from 1 us on.
    const low = Math.min(...trial.seconds.map((s) => s.first));
    const high = Math.max(...trial.seconds.map((s) => s.first + s.counts.length));
    const ranges = Array.from({ length: high - low }, (_, i) => time(10 ** ((low + i) / 10)));
    const cells = trial.seconds.flatMap((s, x) => s.counts.map((n, i) => [x, s.first + i - low, n])).filter((c) => c[2] > 0);
    draw('chart-heat', {
      ...base(), grid: { left: 80, right: 90, top: 16, bottom: 48 },
      tooltip: { ...base().tooltip, formatter: (p) => `second ${p.value[0] + 1}, from ${ranges[p.value[1]]}: <b>${p.value[2]}</b> answers` },
      xAxis: axis('category', 'second', (v) => v, { data: trial.seconds.map((_, i) => i + 1) }),
      yAxis: axis('category', '', (v) => v, { data: ranges }),
      visualMap: { type: 'continuous', min: 0, max: Math.max(...cells.map((c) => Math.log10(c[2] + 1))), dimension: 3, right: 0, top: 'middle', itemHeight: 120, text: ['many', 'few'],
        textStyle: { color: css('--faint') }, inRange: { color: dark.matches ? ['#1d2a3a', '#56B4E9', '#ffffff'] : ['#e3eef7', '#0072B2', '#001a2b'] } },
      series: [{ type: 'heatmap', data: cells.map((c) => [...c, Math.log10(c[2] + 1)]), encode: { x: 0, y: 1, value: 3 } }],
    });
  };

  const bars = (id, value) => {
    const rows = measured(section()).filter(shown).map((row) => [row.server, value(row.figures)]).filter((r) => r[1] !== null).sort((a, b) => b[1] - a[1]);
    if (!rows.length) return draw(id, null, 'Could not be had on this machine.');
    const element = $(id);
    if (element.className !== 'chart') element.className = 'chart';
    element.style.height = `${rows.length * 20 + 50}px`;
    draw(id, {
      ...base(), grid: { left: 130, right: 56, top: 4, bottom: 28 },
      tooltip: { ...base().tooltip, formatter: (p) => `${escape(p.name)}: <b>${+p.value.toPrecision(3)}</b>` },
      xAxis: axis('value', '', count, { splitNumber: 3 }),
      yAxis: axis('category', '', (v) => v, { data: rows.map((r) => r[0]) }),
      series: [{ type: 'bar', data: rows.map((r) => ({ value: r[1], itemStyle: { color: look(r[0]).colour } })), label: { show: true, position: 'right', color: css('--text'), formatter: (p) => `${+p.value.toPrecision(3)}` } }],
    });
    charts.get(id).resize();
  };
  const costs = () => {
    const clients = section().clients;
    bars('chart-cpu', (f) => f.cpu_us);
    bars('chart-syscalls', (f) => f.syscalls);
    bars('chart-switches', (f) => f.context_switches);
    bars('chart-memory', (f) => f.memory_mib === null ? null : f.memory_mib * 1024 / clients);
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
