// The chat page.
import { json, streamChat } from './api.js';
import { Composer } from './composer.js';
import { messages } from './conversation.js';
import { $, announce, el, icon } from './dom.js';
import { Examples } from './examples.js';
import { showInside } from './look.js';
import { openPanel, setUpPanel } from './panel.js';
import { showPrompt } from './prompt.js';
import { Settings } from './settings.js';
import * as views from './turns.js';

const TINY_MODEL = 64; // pixels: models of so small pictures are those of the digits
let info = null;
let turns = []; // {role, text, media} and {role, text, sent, model}
let editing = null; // the place of the question that is being edited
let looking = null; // the answer that the look-inside panel shows
let running = null; // AbortController of the answer that is coming

for (const [id, name] of [['new-chat', 'fresh'], ['theme', 'theme'], ['toggle-panel', 'panel'], ['close-panel', 'close']]) $(id).append(icon(name));
setUpPanel();
const settings = new Settings($('pane-settings'), connect);
const examples = new Examples($('pane-examples'), () => {
  $('tab-examples').textContent = examples.count ? `Examples (${examples.count})` : 'Examples';
});
const composer = new Composer({
  onSend: send,
  onStop: () => running?.abort(),
  onCancelEdit: () => {
    edit(null);
    composer.set({ text: '', media: [] });
  },
  digits: () => info?.image_size <= TINY_MODEL,
});
hint('look', 'Ask something about a picture, then choose the eye below the answer: you see where the model looked for each word.');
hint('prompt', 'The exact text that was sent stands here once there is an answer.');

function hint(name, text) {
  $(`pane-${name}`).replaceChildren(el('p', { class: 'hint', text }));
}

async function connect() {
  try {
    info = await json('/api/info');
  } catch (error) {
    composer.problem(error.status === 401 ? 'This server wants an API key: enter it in the settings.' : `${error.message}${error.status === 503 ? ' One moment…' : ''}`);
    if (error.status === 401) openPanel('settings');
    if (error.status === 503) setTimeout(connect, 2000);
    return;
  }
  composer.problem('');
  $('model').replaceChildren(...info.models.map((name) => el('option', { value: name, text: name })));
  $('model').disabled = info.models.length === 1;
  $('to-arena').hidden = !info.arena;
  settings.showFacts(info);
  starters();
}

function starters() {
  const digits = info.image_size <= TINY_MODEL;
  const starter = (name, text, listener, kind = '') => el('button', { type: 'button', class: `button ${kind}`, on: { click: listener } }, icon(name), text);
  $('starters').replaceChildren(
    starter('draw', digits ? 'Draw a digit' : 'Draw something', () => composer.sketch(), digits ? 'primary' : ''),
    starter('attach', 'Choose pictures', () => $('files').click(), digits ? '' : 'primary'),
    starter('text', 'Teach by examples', () => {
      openPanel('examples');
      if (!examples.rows.length) examples.add();
    }),
  );
}

function shown(upTo) {
  return messages(turns.slice(0, upTo), { system: settings.system, examples: examples.messages(), history: settings.history });
}

function redraw() {
  $('welcome').hidden = turns.length > 0;
  $('turns').replaceChildren(...turns.map((turn) => turn.element));
  $('thread').scrollTop = $('thread').scrollHeight;
}

function edit(place) {
  editing = place;
  $('editing').hidden = place === null;
  if (place !== null) composer.set(turns[place]);
}

function send({ text, media }) {
  if (!info || running) {
    composer.set({ text, media });
    return;
  }
  if (editing !== null) turns = turns.slice(0, editing);
  edit(null);
  const turn = { role: 'user', text, media };
  turn.element = views.question(turn, { onEdit: () => !running && edit(turns.indexOf(turn)) });
  turns.push(turn);
  answer();
}

async function answer() {
  const turn = { role: 'assistant', text: '', sent: shown(turns.length), model: $('model').value, settings: settings.request() };
  const view = views.answer(turn, {
    onAgain: () => {
      if (running) return;
      turns = turns.slice(0, turns.indexOf(turn));
      answer();
    },
    onLook: () => look(turn),
    onPrompt: () => prompt(turn),
    onVote: info.logs ? (verdict, comment = '') => vote(turn, verdict, comment) : null,
  });
  turn.element = view.element;
  turns.push(turn);
  redraw();
  composer.problem('');
  running = new AbortController();
  composer.setBusy(true);
  const begun = performance.now();
  let meta = '';
  try {
    const { tokens, finish } = await streamChat('/v1/chat/completions', { model: turn.model, messages: turn.sent, ...turn.settings }, (piece) => {
      turn.text += piece;
      view.grow(piece);
      $('thread').scrollTop = $('thread').scrollHeight;
    }, running.signal);
    const seconds = (performance.now() - begun) / 1000;
    meta = `${tokens} tokens in ${seconds.toFixed(seconds < 1 ? 2 : 1)} s${finish === 'length' ? ', cut off' : ''}`;
    announce(`Answer: ${turn.text}`);
  } catch (error) {
    if (error.name === 'AbortError') {
      meta = 'stopped';
      announce('Stopped.');
    } else if (turn.text) {
      meta = 'broken off';
      composer.problem(error.message);
    } else {
      fail(error);
      return;
    }
  } finally {
    running = null;
    composer.setBusy(false);
  }
  if (!turn.text) turn.text = '…';
  view.finish(meta);
  redraw();
  if ($('panel').classList.contains('open') && !$('pane-look').hidden && matchMedia('(min-width: 1000px)').matches && meta !== 'stopped') look(turn);
}

/** Takes back a question that got no answer, so that it can be changed and sent again. */
function fail(error) {
  turns.pop();
  composer.set(turns.pop());
  redraw();
  composer.problem(error.message);
}

async function look(turn) {
  openPanel('look');
  if (looking === turn) return;
  looking = turn;
  hint('look', 'Looking…');
  try {
    const inside = await json('/api/look', { model: turn.model, messages: [...turn.sent, { role: 'assistant', content: turn.text }] });
    if (looking === turn) showInside($('pane-look'), inside);
  } catch (error) {
    if (looking !== turn) return;
    looking = null;
    hint('look', error.message);
  }
}

async function prompt(turn) {
  openPanel('prompt');
  try {
    showPrompt($('pane-prompt'), await json('/api/prompt', { model: turn.model, messages: turn.sent }), info.special_tokens);
  } catch (error) {
    hint('prompt', error.message);
  }
}

async function vote(turn, verdict, comment) {
  try {
    const record = { model: turn.model, messages: [...turn.sent, { role: 'assistant', content: turn.text }], verdict, comment };
    await json('/api/feedback', { ...record, settings: turn.settings });
    return true;
  } catch (error) {
    composer.problem(error.message);
    return false;
  }
}

$('new-chat').addEventListener('click', () => {
  running?.abort();
  turns = [];
  looking = null;
  edit(null);
  composer.set({ text: '', media: [] });
  hint('look', 'A new conversation: nothing to look into yet.');
  redraw();
});
connect();
