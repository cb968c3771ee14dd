-- ARGV: P model id worker ticket lease_ms   (id '' only asks for the ticket's earlier claim)
-- {id, attempt}, or nil when the job is gone
local id, worker, ticket = ARGV[3], ARGV[4], ARGV[5]
local claim_key = P .. ':claim:' .. worker
local last = redis.call('HMGET', claim_key, 'ticket', 'job', 'attempt')
if last[1] == ticket and owns(last[2], last[3]) then return { last[2], last[3] } end
if id == '' or redis.call('HGET', job_key(id), 'model') ~= ARGV[2] then return false end
if not dequeue(id) then return false end
local t = now()
local attempt = redis.call('HINCRBY', job_key(id), 'attempt', 1)
redis.call('HSET', job_key(id), 'status', 'running', 'worker', worker, 'started_ms', t, 'step', 0)
redis.call('ZREM', P .. ':deadlines', id)
redis.call('ZADD', P .. ':leases', t + tonumber(ARGV[6]), id)
redis.call('HSET', claim_key, 'ticket', ticket, 'job', id, 'attempt', attempt)
redis.call('EXPIRE', claim_key, 86400)
redis.call('HSET', P .. ':loaded:' .. ARGV[2], worker, redis.call('HGET', job_key(id), 'group'))
event(id, 'running', 'attempt', attempt)
return { id, tostring(attempt) }
