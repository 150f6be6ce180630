// Turns the flat batch of the contract into alerts with JavaScript values. Copy it beside your plugin.
//
//     for (const alert of alerts(batch)) if (alert.get('service') === 'db') ...
//
// `wants` decides what there is: the columns asked for, or the whole alert as `alert.document`.

const [TRUE, INTEGER, NUMBER, TEXT, JSON_TEXT] = [1, 2, 3, 4, 5]; // kinds of cells; 0 is false

/** One alert: its index in the batch, its position in the journal, and what was asked for. */
class Alert {
  constructor(index, seq, accepted, values, document) {
    this.index = index;
    this.seq = seq;
    this.accepted = Number(accepted); // milliseconds since the Unix epoch: the only time there is
    this.values = values;
    this.document = document;
  }

  /** The value at a path that `wants` asked for. */
  get(path, otherwise = undefined) {
    return this.values.has(path) ? this.values.get(path) : otherwise;
  }
}

/** The alerts of a batch, in the order of the journal. */
export function* alerts(batch) {
  const texts = pieces(batch.texts, batch.textEnds, (text) => text);
  const columns = Array.from(batch.columns, (text) => texts[text]);
  const documents = pieces(batch.documents, batch.documentEnds, JSON.parse);
  let cell = 0;
  for (let index = 0; index < batch.seqs.length; index++) {
    const values = new Map();
    for (const end = batch.cellEnds[index] ?? 0; cell < end; cell++) {
      values.set(columns[batch.cellColumns[cell]], value(batch.cellKinds[cell], BigInt(batch.cellWords[cell]), texts));
    }
    yield new Alert(index, batch.seqs[index], batch.accepted[index], values, documents[index]);
  }
}

function pieces(joined, ends, decode) {
  const bytes = Uint8Array.from(joined);
  return Array.from(ends, (end, at) => decode(utf8(bytes.subarray(at ? ends[at - 1] : 0, end))));
}

/** QuickJS has no TextDecoder; what the host hands over is always valid. */
function utf8(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at++];
    const further = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    let point = further ? first & (0x3f >> further) : first;
    for (let left = further; left > 0; left--) point = (point << 6) | (bytes[at++] & 0x3f);
    text += String.fromCodePoint(point);
  }
  return text;
}

function value(kind, word, texts) {
  switch (kind) {
    case TEXT: return texts[Number(word)];
    case INTEGER: return whole(BigInt.asIntN(64, word));
    case NUMBER: return new Float64Array(BigUint64Array.of(word).buffer)[0];
    case JSON_TEXT: return JSON.parse(texts[Number(word)]);
    default: return kind === TRUE;
  }
}

/** A number where it is exact, else a BigInt. */
function whole(integer) {
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}
