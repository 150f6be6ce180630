"""Turns the flat batch of the contract into alerts with Python values. Copy it beside your plugin.

    for alert in alerts(batch):
        if alert.get("service") == "db":
            ...

`wants` decides what there is: the columns asked for, or the whole alert as `alert.document`.
"""

import json
import struct

FALSE, TRUE, INTEGER, NUMBER, TEXT, JSON = range(6)


class Alert:
    """One alert: its index in the batch, its position in the journal, and what was asked for."""

    __slots__ = ("index", "seq", "accepted", "values", "document")

    def __init__(self, index, seq, accepted, values, document):
        self.index = index
        self.seq = seq
        self.accepted = accepted  # milliseconds since the Unix epoch: the only time there is
        self.values = values
        self.document = document

    def get(self, path, default=None):
        """The value at a path that `wants` asked for."""
        return self.values.get(path, default)


def alerts(batch):
    """The alerts of a batch, in the order of the journal."""
    texts = _pieces(batch.texts, batch.text_ends, lambda text: text.decode("utf-8"))
    columns = [texts[text] for text in batch.columns]
    documents = _pieces(batch.documents, batch.document_ends, json.loads)
    begin = 0
    for index, end in enumerate(batch.cell_ends):
        values = {
            columns[batch.cell_columns[cell]]: _value(batch.cell_kinds[cell], batch.cell_words[cell], texts)
            for cell in range(begin, end)
        }
        document = documents[index] if documents else None
        yield Alert(index, batch.seqs[index], batch.accepted[index], values, document)
        begin = end


def _pieces(joined, ends, decode):
    return [decode(joined[begin:end]) for begin, end in zip([0, *ends], ends)]


def _value(kind, word, texts):
    if kind == TEXT:
        return texts[word]
    if kind == INTEGER:
        return word - (1 << 64) if word >> 63 else word
    if kind == NUMBER:
        return struct.unpack("<d", struct.pack("<Q", word))[0]
    if kind == JSON:
        return json.loads(texts[word])
    return kind == TRUE
