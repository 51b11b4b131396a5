-- Writes down what became of a message: KEYS[1] its name; ARGV by whom it was claimed, what
-- became of it ("" not sent), and the answer. A record that is another's, or is settled, stays.
local found = redis.call('GET', KEYS[1])
if not found or found:sub(1, 16) ~= ARGV[1] or found:sub(65, 65) ~= 'r' then
    return
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], found:sub(1, 64) .. ARGV[2] .. ARGV[3], 'KEEPTTL')
end
