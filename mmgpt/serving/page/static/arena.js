// Two models side by side: blind until the vote.
import { json, streamChat } from './api.js';
import { Composer } from './composer.js';
import { messages } from './conversation.js';
import { $, announce, el, icon, mediaElement } from './dom.js';

const TINY_MODEL = 64;
const SIDES = ['a', 'b'];
let info = null;
let battle = null; // its id
let turns = { a: [], b: [] };
let running = null;
let over = false;

$('theme').append(icon('theme'));
const composer = new Composer({ onSend: ask, onStop: () => running?.abort(), onCancelEdit: () => {}, digits: () => info?.image_size <= TINY_MODEL });

async function connect() {
  try {
    info = await json('/api/info');
    if (!info.arena) composer.problem('This server has one model: start it with --compare and --log-dir.');
  } catch (error) {
    composer.problem(error.status === 401 ? 'This server wants an API key: enter it in the settings of the chat.' : error.message);
    if (error.status === 503) setTimeout(connect, 2000);
  }
}

async function ask({ text, media }) {
  if (running || !info?.arena) {
    composer.set({ text, media });
    return;
  }
  if (over) restart();
  running = new AbortController();
  composer.setBusy(true);
  composer.problem('');
  $('ballot').hidden = true;
  $('welcome').hidden = true;
  const boxes = Object.fromEntries(SIDES.map((side) => [side, el('div', { class: 'bubble caret' })]));
  const round = el('li', { class: 'round' },
    el('div', { class: 'turn user' },
      media.length ? el('div', { class: 'media' }, ...media.map((medium, place) => mediaElement(medium, `Picture ${place + 1}`))) : null,
      el('div', { class: 'bubble user', text })),
    el('div', { class: 'sides' }, ...SIDES.map((side) => el('section', { class: 'side', data: { side }, 'aria-label': `Model ${side.toUpperCase()}` }, el('h3', { text: `MODEL ${side.toUpperCase()}` }), boxes[side]))));
  $('rounds').append(round);
  try {
    battle ??= (await json('/api/arena/battles', {})).id;
    const answers = await Promise.all(SIDES.map((side) => one(side, { role: 'user', text, media }, boxes[side], running.signal)));
    SIDES.forEach((side, place) => turns[side].push({ role: 'user', text, media }, { role: 'assistant', text: answers[place] }));
    $('ballot').hidden = false;
    announce(`Model A: ${answers[0]} Model B: ${answers[1]}`);
  } catch (error) {
    running?.abort(); // the other side's, too
    round.remove();
    composer.set({ text, media });
    if (error.name !== 'AbortError') composer.problem(error.message);
    if (error.status === 404) battle = null;
    $('ballot').hidden = turns.a.length === 0;
    $('welcome').hidden = turns.a.length > 0;
  } finally {
    running = null;
    composer.setBusy(false);
    $('thread').scrollTop = $('thread').scrollHeight;
  }
}

async function one(side, question, box, signal) {
  let text = '';
  const sent = messages([...turns[side], question], { system: '', examples: [], history: Infinity });
  await streamChat(`/api/arena/battles/${battle}/chat`, { model: side, messages: sent }, (piece) => {
    text += piece;
    box.append(piece);
    $('thread').scrollTop = $('thread').scrollHeight;
  }, signal);
  box.classList.remove('caret');
  return text || '…';
}

async function vote(winner) {
  let names;
  try {
    names = await json(`/api/arena/battles/${battle}/vote`, { winner });
  } catch (error) {
    composer.problem(error.message);
    return;
  }
  over = true;
  $('choices').hidden = true;
  for (const side of document.querySelectorAll('.side')) {
    side.querySelector('h3').textContent = `MODEL ${side.dataset.side.toUpperCase()} · ${names[side.dataset.side]}`;
    side.classList.toggle('won', side.dataset.side === winner);
  }
  const again = el('button', { type: 'button', class: 'button primary', text: 'Next battle', on: { click: () => {
    restart();
    $('question').focus();
  } } });
  $('revealed').replaceChildren(el('p', { text: `A was ${names.a}, B was ${names.b}. Your vote is kept.` }), again);
  $('revealed').hidden = false;
  announce(`A was ${names.a}, B was ${names.b}.`);
  again.focus();
}

function restart() {
  battle = null;
  over = false;
  turns = { a: [], b: [] };
  $('rounds').replaceChildren();
  $('ballot').hidden = $('revealed').hidden = true;
  $('choices').hidden = $('welcome').hidden = false;
}

for (const button of document.querySelectorAll('[data-winner]')) button.addEventListener('click', () => vote(button.dataset.winner));
connect();
