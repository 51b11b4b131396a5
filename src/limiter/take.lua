-- Takes one out of each bucket, or out of none.
--
-- KEYS    a bucket each; then, if there is one more, a pause that holds for all
-- ARGV    for each bucket: nanoseconds until one more is in it, and how many fit
-- answer  {0, owed, ...}: one was taken, and so many nanoseconds until each bucket is full
--         {n, wait}: KEYS[n] refuses, for so many nanoseconds
--
-- A bucket is kept as the time when it is full again, in nanoseconds since 1970, and
-- forgotten then. Lua counts with doubles: exact up to 2^53, which is too little for such a
-- time and enough for its microseconds.

local pause = KEYS[#ARGV / 2 + 1]
if pause then
  local left = redis.call('PTTL', pause)
  if left > 0 then
    return {#KEYS, left * 1000000}
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function keep(bucket, left)
  local full = string.format('%.0f%03d', now + math.floor(left / 1000), left % 1000)
  redis.call('SET', bucket, full, 'PX', math.ceil(left / 1000000))
end

local owed = {0}
for n = 1, #ARGV / 2 do
  local interval = tonumber(ARGV[2 * n - 1])
  local most = interval * ARGV[2 * n]
  local full = redis.call('GET', KEYS[n])
  local left = 0
  if full then
    left = (string.sub(full, 1, -4) - now) * 1000 + string.sub(full, -3)
    left = math.max(left, 0)
    if left > most then
      -- The clock was set back, or the limit was another. It is empty, and no more than that.
      left = most
      keep(KEYS[n], left)
    end
  end
  if left + interval > most then
    return {n, left + interval - most}
  end
  owed[n + 1] = left + interval
end

for n = 1, #ARGV / 2 do
  keep(KEYS[n], owed[n + 1])
end
return owed
