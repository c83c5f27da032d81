-- Compare-and-set of everything a tick changes: values, the set of our keys, and the watermark.
--
-- KEYS: watermark, set of our keys, then the keys to set, then the keys to remove
-- ARGV: expected epoch, expected token, new epoch, new token, new boundary, what to tell
--       subscribers (or nothing), number of keys to set, then their values
-- Returns {outcome, applied at (seconds since 1970, by KeyDB's clock)} with outcome
--   done     the new watermark is already there: this is a repetition, nothing changes
--   applied  the expected watermark was there; all is changed
--   fenced   another one is there: nothing changes

local SLICE = 1000 -- keys to one call: Lua's stack is limited
local watermark_key, set_key = KEYS[1], KEYS[2]
local expected_epoch, expected_token, new_epoch, new_token = unpack(ARGV, 1, 4)
local boundary, hint, to_set = ARGV[5], ARGV[6], tonumber(ARGV[7])

local function read_watermark()
  if redis.call('TYPE', watermark_key).ok ~= 'hash' then return '', '', '' end
  local fields = redis.call('HMGET', watermark_key, 'epoch', 'token', 'applied_at_s')
  return fields[1] or '', fields[2] or '', fields[3] or ''
end

local function delete_unless_type(kind, key)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end

local function change_set_of_keys(command, first, last)
  for from = first, last, SLICE do
    redis.call(command, set_key, unpack(KEYS, from, math.min(from + SLICE - 1, last)))
  end
end

-- One call for many keys: a call costs more than what it does for one of them.
local function set_values(count)
  for from = 1, count, SLICE do
    local pairs_of_slice = {}
    for i = from, math.min(from + SLICE - 1, count) do
      table.insert(pairs_of_slice, KEYS[2 + i])
      table.insert(pairs_of_slice, ARGV[7 + i])
    end
    redis.call('MSET', unpack(pairs_of_slice))
  end
end

-- Days since 1970 to a date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
local function rfc3339(seconds, micros)
  local days = math.floor(seconds / 86400) + 719468
  local era = math.floor(days / 146097)
  local doe = days - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
    - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local rest = seconds % 86400
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month,
    doy - math.floor((153 * mp + 2) / 5) + 1,
    math.floor(rest / 3600), math.floor(rest % 3600 / 60), rest % 60, micros)
end

local epoch, token, applied_at_s = read_watermark()
if epoch == new_epoch and token == new_token then return {'done', applied_at_s} end
if epoch ~= expected_epoch or token ~= expected_token then return {'fenced', ''} end

delete_unless_type('hash', watermark_key)
delete_unless_type('set', set_key)

set_values(to_set)
change_set_of_keys('SADD', 3, 2 + to_set)
for i = 3 + to_set, #KEYS do
  redis.call('DEL', KEYS[i])
end
change_set_of_keys('SREM', 3 + to_set, #KEYS)

local now = redis.call('TIME')
applied_at_s = string.format('%d.%06d', now[1], now[2])
redis.call('HSET', watermark_key, 'epoch', new_epoch, 'token', new_token, 'boundary', boundary,
  'applied_at', rfc3339(tonumber(now[1]), tonumber(now[2])), 'applied_at_s', applied_at_s)
-- A hint, which may fail: the user may lack the right.
if hint ~= '' then redis.pcall('PUBLISH', 'minutebook:ticks', hint) end
return {'applied', applied_at_s}
