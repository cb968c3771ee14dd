-- ARGV: P model id worker ticket lease_ms expired_error queue message taken
--       (id '' only asks for the earlier claim)
-- {id, attempt, record}, or nil when the job is gone; queue and message replace a ticket of another base,
-- which instead takes one from the queue `taken`
local function taken(id, attempt)
  return { id, attempt, redis.call('HGETALL', job_key(id)) }
end

local model, id, worker, ticket = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local claim_key = P .. ':claim:' .. worker
local last = redis.call('HMGET', claim_key, 'ticket', 'job', 'attempt', 'model', 'group')
if last[1] == ticket and owns(last[2], last[3]) then return taken(last[2], last[3]) end
if id == '' or redis.call('HGET', job_key(id), 'model') ~= model then return false end
local t = now()
local deadline = redis.call('ZSCORE', P .. ':deadlines', id)
if deadline and tonumber(deadline) <= t then
  terminate(id, 'expired', ARGV[7])
  return false
end
if not dequeue(id) then return false end
local r = redis.call('HMGET', job_key(id), 'owner', 'group')
local attempt = redis.call('HINCRBY', job_key(id), 'attempt', 1)
redis.call('HSET', job_key(id), 'status', 'running', 'worker', worker, 'started_ms', t, 'step', 0)
redis.call('ZREM', P .. ':deadlines', id)
redis.call('ZADD', P .. ':leases', t + tonumber(ARGV[6]), id)
redis.call('HSET', claim_key, 'ticket', ticket, 'job', id, 'attempt', attempt, 'model', model,
  'group', r[2])
redis.call('EXPIRE', claim_key, 86400)
-- Who takes a second turn begins a new round.
if redis.call('SADD', had_key(model), r[1]) == 0 then
  redis.call('DEL', had_key(model))
  redis.call('SADD', had_key(model), r[1])
end
local us = now_us()
redis.call('HSET', served_key(model), r[1], us)
set_turn(model, r[1])
if last[5] then redis.call('ZREM', having_key(last[4], last[5]), worker) end
redis.call('ZADD', having_key(model, r[2]), us, worker)
redis.call('EXPIRE', having_key(model, r[2]), 86400)
push_ticket(ARGV[8], ARGV[9])
if ARGV[10] ~= '' then redis.call('RPOP', ARGV[10]) end
mark(worker, 'claimed', id, model .. ' ' .. r[2])
event(id, 'running', 'attempt', attempt)
if attempt == 1 then announce(id, 'started', '') end
return taken(id, tostring(attempt))
