// The token, where this vela asks for one: kept for this tab, sent as a header, never put into an address.

const KEY = "vela-token";

export const token = () => sessionStorage.getItem(KEY) ?? "";

export function keep(text) {
  sessionStorage.setItem(KEY, text);
}

export class Refused extends Error {}

// GET as JSON; throws `Refused` where the token is missing or wrong.
export async function get(path) {
  const headers = token() ? { authorization: `Bearer ${token()}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (answer.status === 401) throw new Refused();
  // Health answers 503 with its report where something is wrong.
  if (!answer.ok && answer.status !== 503) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}
