-- Begins a pause, or makes one longer.
--
-- KEYS  the pause
-- ARGV  how long it is, in milliseconds

if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
end
