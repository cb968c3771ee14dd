-- ARGV: P id model owner group head_start_ms max_waiting max_waiting_per_key window_us
-- the place of a job that would be submitted now, or why it would be refused, see `full`
local id, model, owner = ARGV[2], ARGV[3], ARGV[4]
local refused = full(model, owner, ARGV[7], ARGV[8])
if refused then return refused end
-- It joins the queue for as long as this script runs, which nobody can see: no other rule than
-- the queue's own tells its place.
redis.call('HSET', job_key(id), 'model', model, 'owner', owner, 'group', ARGV[5],
  'score_us', now_us() - tonumber(ARGV[6]) * 1000)
enqueue(id)
local place = place_of(id, tonumber(ARGV[9]))
dequeue(id)
redis.call('DEL', job_key(id))
return place
