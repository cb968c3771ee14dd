-- ARGV: P model limit
-- {now_ms, {id, score_ms, adapters}, …}, oldest first
local out = { now() }
local heads = redis.call('ZRANGE', waiting_key(ARGV[2]), 0, tonumber(ARGV[3]) - 1, 'WITHSCORES')
for i = 1, #heads, 2 do
  out[#out + 1] = { heads[i], heads[i + 1], redis.call('HGET', job_key(heads[i]), 'adapters') }
end
return out
