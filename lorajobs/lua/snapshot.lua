-- ARGV: P model worker loaded_group window_us limit
-- {now_us, oldest jobs, the loaded group's oldest job, groups}, a job is {id, score_us, group}, a
-- group {group, its oldest job's id, score_us, waiting, 1 if another live worker has it loaded}
local model, limit = ARGV[2], tonumber(ARGV[6])

local function jobs(key, n)
  local rows = redis.call('ZRANGE', key, 0, n - 1, 'WITHSCORES')
  local out = {}
  for i = 1, #rows, 2 do
    out[#out + 1] = { rows[i], rows[i + 1], redis.call('HGET', job_key(rows[i]), 'group') }
  end
  return out
end

local elsewhere = {}
local loaded = redis.call('HGETALL', P .. ':loaded:' .. model)
for i = 1, #loaded, 2 do
  if redis.call('EXISTS', P .. ':worker:' .. loaded[i]) == 0 then
    redis.call('HDEL', P .. ':loaded:' .. model, loaded[i])
  elseif loaded[i] ~= ARGV[3] then
    elsewhere[loaded[i + 1]] = true
  end
end

local oldest, groups = jobs(waiting_key(model), limit), {}
if oldest[1] then
  local newest = tonumber(oldest[1][2]) + tonumber(ARGV[5])
  local heads = redis.call('ZRANGE', heads_key(model), '-inf', newest, 'BYSCORE', 'LIMIT', 0, limit)
  for _, group in ipairs(heads) do
    local key = group_key(model, group)
    local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    groups[#groups + 1] =
      { group, head[1], head[2], redis.call('ZCARD', key), elsewhere[group] and 1 or 0 }
  end
end
return { now_us(), oldest, jobs(group_key(model, ARGV[4]), 1), groups }
