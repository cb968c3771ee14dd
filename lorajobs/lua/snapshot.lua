-- ARGV: P model worker loaded_group limit
-- {now_us, turns}, a turn is {key, us since when it waits, 1 if it had its turn in this round, the
-- id and score_us of its oldest job of the loaded group, groups}, a group {group, its oldest job's
-- id, score_us, jobs of all keys, 1 if another live worker has it loaded}
local model, limit = ARGV[2], tonumber(ARGV[5])

local elsewhere = {}
local loaded = redis.call('HGETALL', P .. ':loaded:' .. model)
for i = 1, #loaded, 2 do
  if redis.call('EXISTS', P .. ':worker:' .. loaded[i]) == 0 then
    redis.call('HDEL', P .. ':loaded:' .. model, loaded[i])
  elseif loaded[i] ~= ARGV[3] then
    elsewhere[loaded[i + 1]] = true
  end
end

local function oldest(owner, group)
  return redis.call('ZRANGE', group_key(model, owner, group), 0, 0, 'WITHSCORES')
end

local turns = {}
local owners = redis.call('ZRANGE', turns_key(model), 0, limit - 1, 'WITHSCORES')
-- However many keys and adapters there are, the policy sees little more than twice the limit.
local room = 2 * limit
for i = 1, #owners, 2 do
  if room <= 0 then break end
  local owner, groups = owners[i], {}
  local heads = redis.call('ZRANGE', heads_key(model, owner), 0, limit - 1)
  for _, group in ipairs(heads) do
    local job = oldest(owner, group)
    local waiting = tonumber(redis.call('HGET', groups_key(model), group))
    groups[#groups + 1] = { group, job[1], job[2], waiting, elsewhere[group] and 1 or 0 }
  end
  room = room - #heads
  local had = redis.call('SISMEMBER', had_key(model), owner)
  turns[#turns + 1] = { owner, owners[i + 1], had, oldest(owner, ARGV[4]), groups }
end
return { now_us(), turns }
