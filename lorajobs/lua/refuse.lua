-- ARGV: P id error
-- 1: the waiting job failed; 0: it waits no more
if redis.call('HGET', job_key(ARGV[2]), 'status') ~= 'queued' then return 0 end
terminate(ARGV[2], 'failed', ARGV[3])
return 1
