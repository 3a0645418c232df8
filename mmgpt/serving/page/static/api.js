// Requests to the server that this page came from.

const KEY = 'mmgpt.key';
export const getKey = () => sessionStorage.getItem(KEY) || '';
export const setKey = (key) => sessionStorage.setItem(KEY, key);

/** What the server said is wrong. */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(path, body, signal) {
  const headers = {};
  if (getKey()) headers.Authorization = `Bearer ${getKey()}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const options = { method: body === undefined ? 'GET' : 'POST', headers, signal };
  if (body !== undefined) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ServerError(0, 'The server cannot be reached.');
  }
  if (!response.ok) {
    const told = await response.json().catch(() => null);
    throw new ServerError(response.status, told?.error?.message || `The server answered ${response.status}.`);
  }
  return response;
}

export async function json(path, body, signal) {
  const response = await request(path, body, signal);
  return response.status === 204 ? null : response.json();
}

/**
 * Streams a chat completion.
 * @param {(piece: string) => void} onText is called with each piece of the answer
 * @returns {Promise<{finish: string|null, tokens: number|null}>}
 */
export async function streamChat(path, body, onText, signal) {
  const streamed = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await request(path, streamed, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const result = { finish: null, tokens: null };
  let waiting = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    waiting += value;
    const events = waiting.split('\n\n');
    waiting = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, '');
      if (data === '[DONE]') return result;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServerError(500, chunk.error.message);
      if (chunk.usage) result.tokens = chunk.usage.completion_tokens;
      const choice = chunk.choices[0];
      if (choice?.delta.content) onText(choice.delta.content);
      if (choice?.finish_reason) result.finish = choice.finish_reason;
    }
  }
  throw new ServerError(0, 'The connection ended before the answer did.');
}
