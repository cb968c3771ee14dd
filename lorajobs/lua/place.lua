-- ARGV: P id window_us
-- nil unless the job waits, else its place
if redis.call('HGET', job_key(ARGV[2]), 'status') ~= 'queued' then return false end
return place_of(ARGV[2], tonumber(ARGV[3]))
