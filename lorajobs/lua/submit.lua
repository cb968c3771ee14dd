-- ARGV: P id model spec warnings group webhook owner max_attempts steps head_start_ms queue message
--       deadline_ms max_waiting max_waiting_per_key retention_ms window_us workers idle
--       once fingerprint once_ms   (once '': the client gave its request no name)
-- {created_ms, 1 or 0 if the job was there already (a replay), place or nil unless it waits, id};
-- or why it is refused, see `full`; -3: `once` is another request's, -4: its job was erased
local id, model, owner = ARGV[2], ARGV[3], ARGV[8]
local once = ARGV[21] ~= '' and P .. ':once:' .. ARGV[21]
local earlier = once and redis.call('HMGET', once, 'job', 'fingerprint') or {}
if earlier[1] then
  if earlier[2] ~= ARGV[22] then return -3 end
  id = earlier[1]
end
local known = redis.call('HMGET', job_key(id), 'created_ms', 'status')
if known[1] then
  local waits = known[2] == 'queued'
  return { tonumber(known[1]), 0, waits and place_of(id, tonumber(ARGV[18])) or false, id }
end
if earlier[1] then return -4 end
local refused = full(model, owner, ARGV[15], ARGV[16])
if refused then return refused end
local t = now()
local score = now_us() - tonumber(ARGV[11]) * 1000
redis.call('HSET', job_key(id), 'id', id, 'status', 'queued', 'model', model, 'spec', ARGV[4],
  'warnings', ARGV[5], 'group', ARGV[6], 'webhook', ARGV[7], 'owner', owner,
  'max_attempts', ARGV[9], 'steps', ARGV[10], 'step', 0, 'attempt', 0, 'refunded', 0,
  'created_ms', t, 'score_us', score, 'retention_ms', ARGV[17])
redis.call('ZADD', P .. ':jobs', t, id)
redis.call('ZADD', owned_key(owner), t, id)
if once then
  redis.call('HSET', once, 'job', id, 'fingerprint', ARGV[22])
  redis.call('PEXPIRE', once, ARGV[23])
end
redis.call('SADD', P .. ':models', model)
if ARGV[14] ~= '' then redis.call('ZADD', P .. ':deadlines', t + tonumber(ARGV[14]), id) end
count(model, 'submitted')
enqueue(id)
push_ticket(ARGV[12], ARGV[13])
event(id, 'queued')
local place = place_of(id, tonumber(ARGV[18]))
-- For the estimate of its start, which is compared with what comes.
redis.call('HSET', job_key(id), 'position', place[1], 'service_ms', place[4], 'workers', ARGV[19],
  'idle', ARGV[20])
return { t, 1, place, id }
