-- ARGV: P id model spec warnings group webhook max_attempts steps head_start_ms queue message
--       deadline_ms max_waiting retention_ms
-- 1: queued; 0: the id was there already (a replay); -1: too many jobs wait for this model
local id, model = ARGV[2], ARGV[3]
if redis.call('EXISTS', job_key(id)) == 1 then return 0 end
if redis.call('ZCARD', waiting_key(model)) >= tonumber(ARGV[14]) then return -1 end
local t = now()
local score = now_us() - tonumber(ARGV[10]) * 1000
redis.call('HSET', job_key(id), 'id', id, 'status', 'queued', 'model', model, 'spec', ARGV[4],
  'warnings', ARGV[5], 'group', ARGV[6], 'webhook', ARGV[7], 'max_attempts', ARGV[8],
  'steps', ARGV[9], 'step', 0, 'attempt', 0, 'refunded', 0, 'created_ms', t, 'score_us', score,
  'retention_ms', ARGV[15])
redis.call('ZADD', P .. ':jobs', t, id)
redis.call('SADD', P .. ':models', model)
if ARGV[13] ~= '' then redis.call('ZADD', P .. ':deadlines', t + tonumber(ARGV[13]), id) end
enqueue(id)
push_ticket(ARGV[11], ARGV[12])
event(id, 'queued')
return 1
