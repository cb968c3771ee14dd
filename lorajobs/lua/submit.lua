-- ARGV: P id model spec warnings group webhook owner max_attempts steps head_start_ms queue message
--       deadline_ms max_waiting max_waiting_per_key retention_ms window_us workers
-- {created_ms, 1 or 0 if the id was there already (a replay), place or nil unless it waits};
-- -1: too many jobs wait for this model, -2: too many of this key
local id, model, owner = ARGV[2], ARGV[3], ARGV[8]
local known = redis.call('HMGET', job_key(id), 'created_ms', 'status')
if known[1] then
  local waits = known[2] == 'queued'
  return { tonumber(known[1]), 0, waits and place_of(id, tonumber(ARGV[18])) or false }
end
if redis.call('ZCARD', waiting_key(model)) >= tonumber(ARGV[15]) then return -1 end
if owner ~= '' and redis.call('ZCARD', line_key(model, owner)) >= tonumber(ARGV[16]) then
  return -2
end
local t = now()
local score = now_us() - tonumber(ARGV[11]) * 1000
redis.call('HSET', job_key(id), 'id', id, 'status', 'queued', 'model', model, 'spec', ARGV[4],
  'warnings', ARGV[5], 'group', ARGV[6], 'webhook', ARGV[7], 'owner', owner,
  'max_attempts', ARGV[9], 'steps', ARGV[10], 'step', 0, 'attempt', 0, 'refunded', 0,
  'created_ms', t, 'score_us', score, 'retention_ms', ARGV[17])
redis.call('ZADD', P .. ':jobs', t, id)
redis.call('SADD', P .. ':models', model)
if ARGV[14] ~= '' then redis.call('ZADD', P .. ':deadlines', t + tonumber(ARGV[14]), id) end
enqueue(id)
push_ticket(ARGV[12], ARGV[13])
event(id, 'queued')
local place = place_of(id, tonumber(ARGV[18]))
-- For the estimate of its start, which is compared with what comes.
redis.call('HSET', job_key(id), 'position', place[1], 'service_ms', place[4], 'workers', ARGV[19])
return { t, 1, place }
