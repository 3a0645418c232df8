// In-context demonstrations: pictures with a question and its answer, shown to the model before the conversation.
import { el, iconButton } from './dom.js';
import { droppable, part, Tray } from './attachments.js';

export class Examples {
  constructor(pane, onChange = () => {}) {
    this.rows = [];
    this.list = el('div', { class: 'examples' });
    this.onChange = onChange;
    pane.replaceChildren(
      el('p', { class: 'hint', text: 'Demonstrations that the model sees before every question: it learns from them what is wanted, without training.' }),
      this.list,
      el('div', { class: 'line' },
        el('button', { type: 'button', class: 'button', text: 'Add an example', on: { click: () => this.add() } }),
        el('button', { type: 'button', class: 'button quiet', text: 'Remove all', on: { click: () => this.clear() } })),
    );
  }

  add({ media = [], question = '', answer = '' } = {}) {
    const list = el('ul', { class: 'tray', 'aria-label': 'Pictures of the example' });
    const row = { tray: new Tray(list, () => this.onChange()) };
    const files = el('input', { type: 'file', accept: 'image/*,video/*', multiple: true, class: 'hidden', tabindex: '-1', on: { change: () => {
      row.tray.addFiles([...files.files]);
      files.value = '';
    } } });
    const field = (label, value) => el('input', { type: 'text', value, placeholder: label, 'aria-label': label, on: { input: () => this.onChange() } });
    row.question = field('Question', question);
    row.answer = field('Answer', answer);
    row.element = el('div', { class: 'example', role: 'group', 'aria-label': `Example ${this.rows.length + 1}` },
      el('div', { class: 'head' },
        el('button', { type: 'button', class: 'button small', text: 'Add pictures', on: { click: () => files.click() } }),
        iconButton('trash', 'Remove the example', () => {
          this.rows = this.rows.filter((other) => other !== row);
          row.element.remove();
          this.onChange();
        })),
      files, list, row.question, row.answer);
    droppable(row.element, (over) => row.element.classList.toggle('over', over), (dropped) => row.tray.addFiles(dropped));
    this.rows.push(row);
    this.list.append(row.element);
    if (media.length) row.tray.set(media);
    else files.focus();
    this.onChange();
    return row;
  }

  clear() {
    this.rows = [];
    this.list.replaceChildren();
    this.onChange();
  }

  /** How many will be sent. */
  get count() {
    return this.rows.filter(({ question, answer }) => question.value.trim() && answer.value.trim()).length;
  }

  /** Messages of the examples that have a question and an answer. */
  messages() {
    return this.rows.filter(({ question, answer }) => question.value.trim() && answer.value.trim()).flatMap(({ tray, question, answer }) => [
      { role: 'user', content: [...tray.media.map(part), { type: 'text', text: question.value.trim() }] },
      { role: 'assistant', content: answer.value.trim() },
    ]);
  }
}
