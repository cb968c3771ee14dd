-- ARGV: P key per_minute
-- {left, us until all are there again, us until one is (0: this one was)}: a bucket of one minute's
-- requests that fills evenly (GCRA: the moment at which it will be full again is all it keeps)
local bucket, t = P .. ':bucket:' .. ARGV[2], now_us()
local minute = 60000000
local cost = math.floor(minute / tonumber(ARGV[3]))
local owed = math.max(0, tonumber(redis.call('GET', bucket) or 0) - t)
if owed + cost > minute then return { 0, owed, owed + cost - minute } end
owed = owed + cost
redis.call('SET', bucket, string.format('%d', t + owed), 'PX', math.ceil(owed / 1000))
return { math.floor((minute - owed) / cost), owed, 0 }
