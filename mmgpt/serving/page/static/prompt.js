// The exact text that the model was given, special tokens marked.
import { el } from './dom.js';

export function showPrompt(pane, { text, tokens }, special) {
  const escaped = special.map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const pieces = escaped.length ? text.split(new RegExp(`(${escaped.join('|')})`)) : [text];
  const copy = el('button', { type: 'button', class: 'button small', text: 'Copy', on: { click: () => navigator.clipboard.writeText(text) } });
  pane.replaceChildren(
    el('p', { class: 'hint', text: 'The text from which this answer was made, as the template of the model writes it. Each <image> stands for one picture or video.' }),
    el('pre', { class: 'prompt', tabindex: '0', 'aria-label': 'Prompt' }, ...pieces.map((piece) => (special.includes(piece) ? el('mark', { text: piece }) : piece))),
    el('div', { class: 'line' }, copy, el('span', { class: 'hint', text: `${tokens} tokens` })),
  );
}
