"""Where the scanner is in a text, and what is wrong where it cannot go on."""

from __future__ import annotations


class At:
    """What comes next. No enum: to look up a member would take longer than all else that is done for a character."""

    TEXT = "text"
    TICKS = "ticks"  # in a run of backticks that may be a fence
    WORD = "word"  # in the word after a fence
    FENCED = "fenced"  # in a fence: its object, or after a call the next one or the end
    OPEN = "open"  # after `{`
    SINGLE = "single"  # after a single quote where a key begins
    NEXT_KEY = "next_key"  # after a comma in an object
    KEY = "key"  # in a key
    COLON = "colon"
    VALUE = "value"
    FIRST = "first"  # after `[`
    NAME = "name"  # in the value of `name` of what may be a call
    STRING = "string"  # in any other text
    LITERAL = "literal"  # in a number or a word
    AFTER = "after"  # after a value


PROBLEMS = {
    At.OPEN: "It is not valid JSON: after `{` comes a key in double quotes.",
    At.SINGLE: "It is not valid JSON: keys and texts are in double quotes.",
    At.NEXT_KEY: "It is not valid JSON: after the comma comes a key in double quotes, or leave the comma out.",
    At.COLON: "It is not valid JSON: after a key comes a colon.",
    At.VALUE: "It is not valid JSON: a value is missing.",
    At.FIRST: "It is not valid JSON: a value is missing.",
    At.AFTER: "It is not valid JSON: after a value comes a comma or the bracket that fits; "
    'a double quote in a text is written as \\".',
}
NOT_CLOSED = "The JSON object does not end: a bracket or a quote is missing."


class Kind:
    """What an object may still be."""

    OPEN = "open"  # a call, or not
    NAMED = "named"  # the shorthand, with the name of a tool that is offered
    EXPLICIT = "explicit"  # it has `tool_calls`
    AROUND = "around"  # the shorthand is its `function`
    OTHER = "other"  # no call


class Object:
    """An object that is not closed yet: where it begins, what it may still be, and the key that was read last."""

    __slots__ = ("key", "kind", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.kind = Kind.OPEN
        self.key = ""
