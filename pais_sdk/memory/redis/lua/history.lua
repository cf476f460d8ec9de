-- Read a piece of a history, back from one message.
local family, entry, count, floor = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local piece = walk(family, entry, count, floor)
local parent = read_entry(family, piece.parent) and piece.parent or ''
return {piece.messages, piece.next, piece.count, piece.floor, parent, as_json(piece.ids)}
