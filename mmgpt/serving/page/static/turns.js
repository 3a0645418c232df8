// How turns look: a question with its pictures, an answer with what can be done with it.
import { announce, el, iconButton, mediaElement } from './dom.js';

export function question(turn, { onEdit }) {
  return el('li', { class: 'turn user' },
    el('span', { class: 'hidden', text: 'You asked:' }),
    turn.media.length ? el('div', { class: 'media' }, ...turn.media.map((medium, place) => mediaElement(medium, `${medium.kind === 'video' ? 'Video' : 'Picture'} ${place + 1}`))) : null,
    el('div', { class: 'said' },
      el('div', { class: 'tools' }, iconButton('edit', 'Edit this question', onEdit)),
      el('div', { class: 'bubble user', text: turn.text })));
}

/** An answer's element, with `grow(piece)` while it comes and `finish(meta)` once it is there. */
export function answer(turn, { onAgain, onLook, onPrompt, onVote }) {
  const text = el('div', { class: 'bubble caret', text: turn.text });
  const tools = el('div', { class: 'tools', hidden: true });
  const element = el('li', { class: 'turn assistant' }, el('span', { class: 'hidden', text: 'The model answered:' }), text, tools);
  const votes = onVote ? voting(element, onVote) : [];
  return {
    element,
    grow(piece) {
      text.append(piece);
    },
    finish(meta) {
      text.classList.remove('caret');
      tools.hidden = false;
      tools.replaceChildren(
        iconButton('eye', 'Look inside', onLook),
        iconButton('text', 'Show the exact prompt', onPrompt),
        iconButton('copy', 'Copy the answer', async () => {
          await navigator.clipboard.writeText(turn.text);
          announce('Copied.');
        }),
        iconButton('again', 'Answer again', onAgain),
        ...votes,
        el('span', { class: 'meta', text: meta }));
    },
  };
}

function voting(element, onVote) {
  const press = (button, pressed) => button.setAttribute('aria-pressed', pressed);
  const cast = async (button, other, verdict) => {
    if (!(await onVote(verdict))) return;
    press(button, true);
    press(other, false);
    announce('Thank you, your vote is kept.');
  };
  const up = iconButton('up', 'Good answer', () => cast(up, down, 'up'), { 'aria-pressed': 'false' });
  const down = iconButton('down', 'Bad answer', () => cast(down, up, 'down'), { 'aria-pressed': 'false' });
  const flag = iconButton('flag', 'Flag this answer', () => {
    if (element.querySelector('.flagging')) return;
    const why = el('input', { type: 'text', maxlength: '2000', placeholder: 'What is wrong with it?', 'aria-label': 'What is wrong with it?' });
    const form = el('form', { class: 'flagging', on: { submit: async (event) => {
      event.preventDefault();
      if (!(await onVote('flag', why.value))) return;
      press(flag, true);
      form.remove();
      announce('Flagged.');
    } } }, why, el('button', { class: 'button small', text: 'Flag' }), el('button', { type: 'button', class: 'button quiet small', text: 'Cancel', on: { click: () => form.remove() } }));
    element.append(form);
    why.focus();
  }, { 'aria-pressed': 'false' });
  return [up, down, flag];
}
