-- ARGV: P model worker loaded_group limit
-- {now_us, turns}, a turn is {key, us since when it waits, 1 if it had its turn in this round, the
-- id and score_us of its oldest job of the loaded group, groups}, a group {group, its oldest job's
-- id, score_us, jobs of all keys, 1 if another live worker has it loaded}
local model, limit = ARGV[2], tonumber(ARGV[5])

-- 1 if another live worker took the group last and may take more of it; who took it latest is asked
-- first, so that the number of workers costs nothing.
local function elsewhere(group)
  local key, at = having_key(model, group), 0
  while true do
    local name = redis.call('ZREVRANGE', key, at, at)[1]
    if not name then return 0 end
    local has = redis.call('HMGET', P .. ':claim:' .. name, 'model', 'group')
    if has[1] ~= model or has[2] ~= group or redis.call('EXISTS', P .. ':worker:' .. name) == 0 then
      redis.call('ZREM', key, name)
    elseif name == ARGV[3] then
      at = at + 1
    else
      return 1
    end
  end
end

-- Asked once of a group, however many keys have jobs in it.
local known = {}
local function is_elsewhere(group)
  known[group] = known[group] or elsewhere(group)
  return known[group]
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
    groups[#groups + 1] = { group, job[1], job[2], waiting, is_elsewhere(group) }
  end
  room = room - #heads
  local had = redis.call('SISMEMBER', had_key(model), owner)
  turns[#turns + 1] = { owner, owners[i + 1], had, oldest(owner, ARGV[4]), groups }
end
return { now_us(), turns }
