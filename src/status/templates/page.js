(() => {
  'use strict';
  const live = () => document.getElementById('live');
  let busy = false, stale = false, connected = false;

  const say = () => {
    const at = live();
    if (!at) return;
    at.textContent = connected ? '· live' : '· not connected, trying again';
    at.className = connected ? 'on' : 'off';
  };

  // Puts the new fragment in place of the old one, and leaves open what the reader has opened.
  const swap = (id, next) => {
    const old = document.getElementById(id), fresh = next.getElementById(id);
    if (!old || !fresh) return;
    for (const details of old.querySelectorAll('details[id]')) {
      const same = next.getElementById(details.id);
      if (same && details.dataset.touched) { same.open = details.open; same.dataset.touched = '1'; }
    }
    const focused = document.activeElement && old.contains(document.activeElement) ? document.activeElement.closest('[id]') : null;
    old.replaceChildren(...fresh.childNodes);
    if (focused) {
      const again = document.getElementById(focused.id);
      const target = again && (again.querySelector('summary') || again);
      if (target) target.focus({ preventScroll: true });
    }
  };

  const refresh = async () => {
    if (busy) { stale = true; return; }
    busy = true;
    try {
      const answer = await fetch('/', { cache: 'no-store' });
      if (!answer.ok) return;
      const next = new DOMParser().parseFromString(await answer.text(), 'text/html');
      swap('top', next);
      swap('main', next);
      document.title = next.title;
      say();
    } catch (_) {
      // The event source notices a lost server, and says so.
    } finally {
      busy = false;
      if (stale) { stale = false; setTimeout(refresh, 250); }
    }
  };

  document.addEventListener('click', event => {
    const summary = event.target.closest && event.target.closest('summary');
    if (summary) summary.parentElement.dataset.touched = '1';
  });

  const events = new EventSource('/driftless/v1/stream');
  events.addEventListener('open', () => { connected = true; say(); });
  events.addEventListener('error', () => { connected = false; say(); });
  events.addEventListener('status', () => { if (!document.hidden) refresh(); else stale = true; });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });
  // Ages grow though nothing happens.
  setInterval(() => { if (!document.hidden && connected) refresh(); }, 20000);
})();
