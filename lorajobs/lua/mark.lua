-- ARGV: P worker what detail
-- Notes what the worker itself became, and forgets who has done nothing for long.
mark(ARGV[2], ARGV[3], '', ARGV[4])
redis.call('ZREMRANGEBYSCORE', P .. ':timelines', '-inf', now() - MARKS_TTL_S * 1000)
return 1
