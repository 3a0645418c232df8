// Where a question is written: text that grows, pictures beside it, Enter sends.
import { $, icon } from './dom.js';
import { droppable, Tray } from './attachments.js';
import { openSketch } from './sketch.js';

export class Composer {
  /** `onSend({text, media})`; `onStop()`; `digits()` says whether drawings become pictures of the digits data set. */
  constructor({ onSend, onStop, onCancelEdit, digits }) {
    this.text = $('question');
    this.onSend = onSend;
    this.digits = digits;
    this.tray = new Tray($('tray'), () => this.update(), (message) => this.problem(message));
    for (const [id, name] of [['attach', 'attach'], ['draw', 'draw'], ['send', 'send'], ['stop', 'stop']]) $(id).append(icon(name));
    $('attach').addEventListener('click', () => $('files').click());
    $('files').addEventListener('change', () => {
      this.addFiles([...$('files').files]);
      $('files').value = '';
    });
    $('draw').addEventListener('click', () => this.sketch());
    $('stop').addEventListener('click', onStop);
    $('cancel-edit').addEventListener('click', onCancelEdit);
    $('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.send();
    });
    this.text.addEventListener('input', () => this.update());
    this.text.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.send();
      }
    });
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.busy) onStop();
    });
    document.addEventListener('paste', (event) => {
      const files = [...(event.clipboardData?.files || [])];
      if (!files.length) return;
      event.preventDefault();
      this.addFiles(files);
    });
    droppable(document.body, (over) => { $('drop').hidden = !over; }, (files) => this.addFiles(files));
    this.setBusy(false);
  }

  async addFiles(files) {
    this.problem('');
    await this.tray.addFiles(files);
    this.text.focus();
  }

  sketch() {
    const digits = this.digits();
    openSketch({ digits, question: digits ? 'What digit is this?' : 'What is this?' }, (medium, question) => {
      if (question) this.onSend({ text: question, media: [...this.tray.take(), medium] });
      else this.tray.set([...this.tray.media, medium]);
    });
  }

  send() {
    const text = this.text.value.trim();
    if (!text || this.busy) return;
    this.text.value = '';
    this.onSend({ text, media: this.tray.take() });
    this.update();
  }

  set({ text, media }) {
    this.text.value = text;
    this.tray.set(media);
    this.text.focus();
  }

  setBusy(busy) {
    this.busy = busy;
    $('send').hidden = busy;
    $('stop').hidden = !busy;
    this.update();
  }

  problem(message) {
    $('problem').textContent = message;
    $('problem').hidden = !message;
  }

  update() {
    $('send').disabled = !this.text.value.trim();
    this.text.style.height = 'auto';
    this.text.style.height = `${this.text.scrollHeight}px`;
  }
}
