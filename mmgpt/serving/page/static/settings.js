// Settings of the generation and facts about the model; kept in this browser, the key for this tab only.
import { getKey, setKey } from './api.js';
import { el } from './dom.js';

const STORE = 'mmgpt.settings';
const DEFAULTS = { temperature: '0', top_p: '1', max_tokens: '', seed: '', history: 'all', system: '' };

export class Settings {
  constructor(pane, onKey) {
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(STORE)) || {};
    } catch { /* what was kept is no use */ }
    this.values = { ...DEFAULTS, ...kept };
    this.facts = el('dl', { class: 'facts' });
    this.key = el('input', { type: 'password', value: getKey(), autocomplete: 'off', on: { change: (event) => {
      setKey(event.target.value.trim());
      onKey();
    } } });
    const number = (name, label, limits) => this.field(label, el('input', { type: 'number', inputmode: 'decimal', ...limits, ...this.bound(name) }));
    const history = el('select', this.bound('history'), ...[['all', 'the whole conversation'], ['0', 'this question alone'], ['1', 'the last exchange'], ['2', 'the last 2 exchanges'], ['4', 'the last 4 exchanges'], ['8', 'the last 8 exchanges']].map(([value, text]) => el('option', { value, text })));
    history.value = this.values.history;
    const system = el('textarea', { rows: 2, ...this.bound('system') });
    system.value = this.values.system;
    pane.replaceChildren(
      el('div', { class: 'pair' }, number('temperature', 'Temperature', { min: 0, max: 2, step: 0.1 }), number('top_p', 'Top p', { min: 0.05, max: 1, step: 0.05 })),
      el('div', { class: 'pair' }, number('max_tokens', 'Longest answer (tokens)', { min: 1, step: 1, placeholder: 'default' }), number('seed', 'Seed', { step: 1, placeholder: 'none' })),
      this.field('The model sees of what was said before', history),
      this.field('System text', system),
      el('form', { on: { submit: (event) => event.preventDefault() } }, this.field('API key, where the server wants one', this.key)),
      el('div', { class: 'line' }, el('button', { type: 'button', class: 'button quiet small', text: 'Reset', on: { click: () => this.reset(pane) } })),
      el('h2', { text: 'Model' }),
      this.facts,
    );
  }

  field(label, input) {
    return el('label', { class: 'field' }, el('span', { text: label }), input);
  }

  bound(name) {
    const keep = (event) => {
      this.values[name] = event.target.value;
      localStorage.setItem(STORE, JSON.stringify(this.values));
    };
    return { value: this.values[name], data: { setting: name }, on: { input: keep } };
  }

  reset(pane) {
    this.values = { ...DEFAULTS };
    localStorage.removeItem(STORE);
    for (const input of pane.querySelectorAll('[data-setting]')) input.value = DEFAULTS[input.dataset.setting];
  }

  /** Fields of a chat completion. */
  request() {
    const { temperature, top_p, max_tokens, seed } = this.values;
    const fields = { temperature: Number(temperature) || 0, top_p: Number(top_p) || 1 };
    if (max_tokens !== '') fields.max_tokens = Math.max(1, Math.round(Number(max_tokens)));
    if (seed !== '') fields.seed = Math.round(Number(seed));
    return fields;
  }

  get system() {
    return this.values.system.trim();
  }

  /** Exchanges before the question that the model is shown. */
  get history() {
    return this.values.history === 'all' ? Infinity : Number(this.values.history);
  }

  showFacts(info) {
    const { type, ...options } = info.template;
    const template = [type, ...Object.entries(options).map(([name, value]) => `${name}=${value}`)].join(', ');
    const facts = {
      Template: template,
      'A text sees': { previous: 'the picture before it', next: 'the picture after it', all_previous: 'all pictures before it', all_next: 'all pictures up to the next' }[info.attend],
      Pictures: `${info.image_size} × ${info.image_size} pixels`,
      Videos: `up to ${info.num_frames} frames`,
      'Gated layers': info.layers.join(', '),
      Parameters: info.parameters.toLocaleString('en'),
      'Longest text': info.context_length ? `${info.context_length.toLocaleString('en')} tokens` : null,
    };
    this.facts.replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) => [el('dt', { text: name }), el('dd', { text: value })]));
  }
}
