-- ARGV: P name record keep_ms
redis.call('HSET', P .. ':awaited', ARGV[2], ARGV[3])
redis.call('ZADD', P .. ':incoming', now() + tonumber(ARGV[4]), ARGV[2])
return 1
