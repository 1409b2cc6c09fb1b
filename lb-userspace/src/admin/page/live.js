// Keeps the status page up to date, and sends what its buttons ask for.
'use strict';

const main = document.querySelector('main');
const live = document.getElementById('live');
const message = document.getElementById('message');
// The timer that removes the last message.
let clearing;

// Changes the nodes of `now` to those of `next`, and leaves alone what is equal, so that focus,
// selection and scroll positions stay.
function apply(now, next) {
  const count = next.childNodes.length;
  while (now.childNodes.length > count) now.lastChild.remove();
  for (let i = 0; i < count; i++) {
    const old = now.childNodes[i];
    const fresh = next.childNodes[i];
    if (!old) {
      now.append(fresh.cloneNode(true));
    } else if (old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      old.replaceWith(fresh.cloneNode(true));
    } else if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
    } else {
      applyAttributes(old, fresh);
      apply(old, fresh);
    }
  }
}

function applyAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== 'disabled') old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

function connect() {
  const stream = new EventSource('/api/v1/stream');
  stream.onopen = () => {
    live.textContent = '● live';
    live.className = '';
  };
  stream.onerror = () => {
    live.textContent = 'connection lost, reconnecting; last update ' + new Date().toLocaleTimeString();
    live.className = 'lost';
    // The browser gives up after an answer that is not a stream, such as 503.
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
  };
  stream.onmessage = (event) => {
    const next = new DOMParser().parseFromString(event.data, 'text/html');
    apply(main, next.body);
  };
}

// Returns the operator token; asks for it once in a tab.
function token() {
  const known = sessionStorage.getItem('token');
  if (known) return Promise.resolve(known);
  const dialog = document.querySelector('dialog');
  const input = document.getElementById('token');
  input.value = '';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      const given = dialog.returnValue === 'use' ? input.value.trim() : '';
      input.value = '';
      if (given) sessionStorage.setItem('token', given);
      resolve(given);
    }, { once: true });
  });
}

async function send(request) {
  const headers = { 'Content-Type': 'application/json' };
  // A page without the dialog was loaded with the certificate of an operator, which the browser
  // shows again by itself.
  if (document.querySelector('dialog')) {
    const given = await token();
    if (!given) return 'Cancelled.';
    headers['Authorization'] = 'Bearer ' + given;
  }
  const answer = await fetch('/api/v1/command', { method: 'POST', headers, body: request });
  if (answer.status === 401) sessionStorage.removeItem('token');
  return (await answer.text()).trim();
}

document.addEventListener('click', async (event) => {
  const button = event.target.closest('button[data-request]');
  if (!button || button.disabled) return;
  if (button.dataset.confirm && !window.confirm(button.dataset.confirm)) return;
  button.disabled = true;
  message.textContent = '';
  try {
    message.textContent = await send(button.dataset.request);
  } catch (error) {
    message.textContent = 'The agent could not be reached: ' + error.message;
  }
  button.disabled = false;
  clearTimeout(clearing);
  clearing = setTimeout(() => { message.textContent = ''; }, 15000);
});

connect();
