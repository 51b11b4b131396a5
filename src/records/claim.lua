-- Makes a record, unless there is one: KEYS[1] its name; ARGV by whom, of which body, after
-- how many milliseconds the claim lapses and the record expires. False: the claim holds.
--
-- A record is a text: by whom (16 bytes), of which body (32), when the claim lapses (16), what
-- became of it ("r" runs, "u" nobody knows, "a" answered), and the answer.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('GET', KEYS[1])
if found then
    local fate = found:sub(65, 65)
    if fate == 'r' and tonumber(found:sub(49, 64)) <= now then
        fate = 'u'
    end
    return { found:sub(1, 16), found:sub(17, 48), fate, found:sub(66) }
end
local lapses = string.format('%016.0f', now + ARGV[3])
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2] .. lapses .. 'r', 'PX', ARGV[4])
return false
