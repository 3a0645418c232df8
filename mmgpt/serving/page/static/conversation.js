// What was said, and which messages the model is shown of it. Nothing here knows the page.
import { part } from './attachments.js';

/** A user's turn as a message. */
export const asked = ({ text, media }) => ({ role: 'user', content: [...media.map(part), { type: 'text', text }] });

/**
 * Messages of a conversation.
 * @param {{role: string, text: string, media?: object[]}[]} turns user and assistant in turn; the last is a question, or its answer
 * @param {{system: string, examples: object[], history: number}} shown history: exchanges before the last question
 */
export function messages(turns, { system, examples, history }) {
  const questions = turns.map((turn, place) => (turn.role === 'user' ? place : -1)).filter((place) => place >= 0);
  const first = questions[Math.max(0, questions.length - 1 - history)] ?? 0;
  return [
    ...(system ? [{ role: 'system', content: system }] : []),
    ...examples,
    ...turns.slice(first).map((turn) => (turn.role === 'user' ? asked(turn) : { role: 'assistant', content: turn.text })),
  ];
}
