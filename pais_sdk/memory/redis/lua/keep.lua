-- How sessions are indexed, forgotten and dropped.
local BASE, RANGE = 1700000000000000, 2251799813685248

-- Let a key of several sessions live as long as the longest of them; `before` is its PTTL before the write.
local function keep(shared, before, ttl)
  if ttl then
    if before ~= -1 and before < ttl then call('PEXPIRE', shared, ttl + SLACK) end
  elseif before >= 0 then
    call('PERSIST', shared)
  end
end

local function live(own, ttl)
  if ttl then call('PEXPIRE', own, ttl + SLACK) else call('PERSIST', own) end
end

local function index(shared, score, member, ttl)
  local before = call('PTTL', shared)
  call('ZADD', shared, score, member)
  keep(shared, before, ttl)
end

-- Scopes are ordered by the number of their sessions, and those with equally many by how old their oldest is: the
-- fraction of the score says so, to the microsecond while they have a few sessions.
local function rank(scope)
  local ranks = root .. 'q'
  local oldest = call('ZRANGE', scope, 0, 0, 'WITHSCORES')
  if not oldest[1] then
    call('ZREM', ranks, scope)
    return
  end
  local before = call('PTTL', ranks)
  local age = math.min(math.max(1 - (oldest[2] - BASE) / RANGE, 0), 0.999)
  call('ZADD', ranks, string.format('%.17g', call('ZCARD', scope) + age), scope)
  local left = call('PTTL', scope)
  keep(ranks, before, left >= 0 and left)
end

-- Count a use of a session; all that belongs to it lives on for `ttl` milliseconds, or for ever without.
local function touch(name, family, ttl, label, updated)
  local scope = scope_key(name)
  index(scope, now_us, name, ttl)
  rank(scope)
  local indexes = {root .. 'i', label_key(label)}
  for _, shared in ipairs(indexes) do
    if updated then
      index(shared, updated, name, ttl)
    else
      keep(shared, call('PTTL', shared), ttl)
    end
  end
  if ttl then index(root .. 'x', now + ttl, name, ttl) else call('ZREM', root .. 'x', name) end
  live(key('c', name), ttl)
  live(key('n', name), ttl)
  local family_key = key('f', family)
  if call('HGET', family_key, 'n') == '1' then
    live(family_key, ttl)
  else
    keep(family_key, call('PTTL', family_key), ttl)
  end
end

local function forget(name, label)
  call('UNLINK', key('c', name), key('n', name))
  local scope = scope_key(name)
  call('ZREM', scope, name)
  rank(scope)
  call('ZREM', root .. 'i', name)
  local labelled = label_key(label)
  if labelled then call('ZREM', labelled, name) end
  call('ZREM', root .. 'x', name)
end
