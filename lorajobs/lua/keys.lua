-- Shared head of every script: the key schema and the moves that several verbs make.
-- ARGV[1] is always the prefix P. Times are milliseconds of this server's clock; scores are
-- microseconds, so that jobs of one millisecond keep their order.
--
--   P:job:<id>         HASH    the record: status, model, spec, attempt, cancel, … (JSON values)
--   P:jobs             ZSET    id -> created_ms        every job, for listing
--   P:owned:<o>        ZSET    id -> created_ms        those of the API key o
--   P:once:<hash>      HASH    job, fingerprint        a repeated submit finds its job, expires
--   P:models           SET     base models ever submitted to
--   P:waiting:<model>  ZSET    id -> score_us          jobs a worker may claim, smallest first
--   P:groups:<model>   HASH    g -> n                  how many of them need the adapters g
--   P:line:<model>:<o> ZSET    id -> score_us          those of the API key o
--   P:heads:<model>:<o> ZSET   g -> score_us           of the oldest job of each group in o's line
--   P:group:<model>:<o>:<g> ZSET id -> score_us        jobs of o's line that need the adapters g
--   P:turns:<model>    ZSET    o -> us                 since when o waits for its turn
--   P:served:<model>   HASH    o -> us                 when a job of o was claimed last
--   P:had:<model>      SET     keys that had their turn in this round
--   P:having:<model>:<g> ZSET  worker -> us            who took g last, and when; expires
--   P:delayed          ZSET    id -> ready_ms          jobs backing off before their next attempt
--   P:leases           ZSET    id -> expiry_ms         running jobs
--   P:claim:<worker>   HASH    ticket, job, attempt, model, group: the last claim; expires
--   P:deadlines        ZSET    id -> ms                when a job that has not started expires
--   P:kept             ZSET    id -> ms                when an ended job is erased
--   P:pulse            HASH    ms: the last look for lost leases; patient_ms: until when none is
--   P:service:<model>  HASH    ms                      running mean of a job's time on a worker
--   P:rate:<model>:<m> HASH    submitted, ended        in the minute m, expires
--   P:totals:<model>   HASH    what -> n               since this store began, see `sum_up`
--   P:events:<id>      STREAM  what happened to the job, for live listeners
--   P:failed           LIST    jobs that failed, the latest first, so many
--   P:undelivered      LIST    the same of webhooks that were given up
--   P:outbox           ZSET    delivery -> due_ms      webhooks to send
--   P:hooks:<host>     ZSET    delivery -> due_ms      of these, those to one host and port
--   P:hosts            ZSET    host -> ms              when it may be sent its next
--   P:sending:<host>   ZSET    delivery -> ms          those given to couriers, and until when
--   P:delivery:<d>     HASH    job, url, host, event, tries, status
--   P:tries:<d>        LIST    when each try was made and what came of it
--   P:deliveries:<id>  ZSET    delivery -> ms          a job's, and when each was made
--   P:worker:<name>    STRING  what a live worker says of itself (JSON, expires)
--   P:workers          SET     names of workers that ever spoke
--   P:timeline:<worker> STREAM what it did when, see timeline.py; expires
--   P:timelines        ZSET    worker -> ms            of each the last entry
--   P:memory:<worker>  SET     adapters in its host memory, and =<version>, see holdings.py; expires
--   P:disk:<disk>      SET     adapters on a disk that workers share, the same; expires
--   P:listening        SET     processes of the API in which requests wait for jobs
--   P:listening:<p>    STRING  how many, expires
--   P:loras            HASH    id -> adapter record (lorajobs/adapters/registry.py)
--   P:awaited          HASH    name -> adapter whose file is still to come (adapters/awaited.py)
--   P:incoming         ZSET    name -> ms              when what came for it is erased
--   P:keys             HASH    id -> API key           its hash, never its secret (api_keys.py)
--   P:keys_root        STRING  what the secrets of the keys' webhooks are made of
--   P:bucket:<key>     STRING  us                      when its requests are all there again
--   P:users            SET     keys that ever used a worker
--   P:usage:<o>        HASH    'by what name' -> n     what o used, see finish.lua
--   P:usage:<o>:<day>  HASH    the same of one day (UTC, counted from 1970), expires
--   P:secret           STRING  made-up webhook secret of jobs without a key, if none is configured

local P = ARGV[1]
local EVENTS_KEPT, EVENTS_TTL_S = 256, 86400
-- Of some sixty jobs.
local MARKS_KEPT, MARKS_TTL_S = 240, 3600
-- As LATEST in watch.py.
local LATEST = 100
-- As KEPT_DAYS in usage.py.
local USAGE_DAYS = 400

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function job_key(id) return P .. ':job:' .. id end
local function owned_key(owner) return P .. ':owned:' .. owner end
local function waiting_key(model) return P .. ':waiting:' .. model end
local function groups_key(model) return P .. ':groups:' .. model end
local function line_key(model, owner) return P .. ':line:' .. model .. ':' .. owner end
local function heads_key(model, owner) return P .. ':heads:' .. model .. ':' .. owner end
local function turns_key(model) return P .. ':turns:' .. model end
local function served_key(model) return P .. ':served:' .. model end
local function had_key(model) return P .. ':had:' .. model end
local function group_key(model, owner, group)
  return P .. ':group:' .. model .. ':' .. owner .. ':' .. group
end

local function having_key(model, group) return P .. ':having:' .. model .. ':' .. group end

local function event(id, kind, ...)
  redis.call('XADD', P .. ':events:' .. id, 'MAXLEN', '~', EVENTS_KEPT, '*', 'event', kind, ...)
  redis.call('EXPIRE', P .. ':events:' .. id, EVENTS_TTL_S)
end

-- Notes what a worker does from now on: of a job, a stage or the end of its attempt.
local function mark(worker, what, id, detail)
  if not worker or worker == '' then return end
  local key, text = P .. ':timeline:' .. worker, what .. ' ' .. id .. ' ' .. detail
  if what == 'claimed' or id == '' then
    redis.call('XADD', key, 'MAXLEN', '~', MARKS_KEPT, '*', 'mark', text)
    redis.call('EXPIRE', key, MARKS_TTL_S)
    redis.call('ZADD', P .. ':timelines', now(), worker)
  else
    -- It follows one of those; if that has expired, nothing would make this expire.
    redis.call('XADD', key, 'NOMKSTREAM', 'MAXLEN', '~', MARKS_KEPT, '*', 'mark', text)
  end
end

-- Puts a name in front of a list of the latest.
local function latest(list, name)
  redis.call('LPUSH', P .. ':' .. list, name)
  redis.call('LTRIM', P .. ':' .. list, 0, LATEST - 1)
end

-- Keeps in `index` the score of the first job of `key` under `name`.
local function set_head(key, index, name, not_before)
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if head[1] then
    redis.call('ZADD', index, math.max(tonumber(head[2]), not_before), name)
  else
    redis.call('ZREM', index, name)
  end
end

-- A key waits for its turn since its oldest job came, or since its last turn: so a head start
-- brings its first job forward, never a second one before another key's turn.
local function set_turn(model, owner)
  local served = redis.call('HGET', served_key(model), owner) or 0
  set_head(line_key(model, owner), turns_key(model), owner, tonumber(served))
end

local NEVER = -math.huge

-- The only ways into and out of the waiting index.
local function enqueue(id)
  local r = redis.call('HMGET', job_key(id), 'model', 'owner', 'group', 'score_us')
  local model, owner, group, score = r[1], r[2], r[3], r[4]
  redis.call('ZADD', waiting_key(model), score, id)
  redis.call('ZADD', line_key(model, owner), score, id)
  redis.call('ZADD', group_key(model, owner, group), score, id)
  redis.call('HINCRBY', groups_key(model), group, 1)
  set_head(group_key(model, owner, group), heads_key(model, owner), group, NEVER)
  set_turn(model, owner)
end

local function dequeue(id)
  local r = redis.call('HMGET', job_key(id), 'model', 'owner', 'group')
  local model, owner, group = r[1], r[2], r[3]
  if not model or redis.call('ZREM', waiting_key(model), id) == 0 then return false end
  redis.call('ZREM', line_key(model, owner), id)
  redis.call('ZREM', group_key(model, owner, group), id)
  if redis.call('HINCRBY', groups_key(model), group, -1) == 0 then
    redis.call('HDEL', groups_key(model), group)
  end
  set_head(group_key(model, owner, group), heads_key(model, owner), group, NEVER)
  set_turn(model, owner)
  return true
end

-- -1: too many jobs wait for this model, -2: too many of this key; nil: there is room.
local function full(model, owner, max_waiting, max_waiting_per_key)
  if redis.call('ZCARD', waiting_key(model)) >= tonumber(max_waiting) then return -1 end
  if owner == '' then return nil end
  local own = redis.call('ZCARD', line_key(model, owner))
  return own >= tonumber(max_waiting_per_key) and -2 or nil
end

-- {jobs before it, jobs that may run before it, 1 if it backs off, mean service in ms or 0}; the
-- other keys get one turn for each of this one's, and one more at the start.
local function place_of(id, window_us)
  local r = redis.call('HMGET', job_key(id), 'model', 'owner', 'score_us')
  local model, owner, score = r[1], r[2], tonumber(r[3])
  local service = redis.call('HGET', P .. ':service:' .. model, 'ms') or 0
  local all = redis.call('ZCARD', waiting_key(model))
  local line = line_key(model, owner)
  local rank = redis.call('ZRANK', line, id)
  if not rank then return { all, all, 1, service } end
  local others = all - redis.call('ZCARD', line)
  local keys = redis.call('ZCARD', turns_key(model)) - 1
  local before = redis.call('ZRANK', turns_key(model), owner)
  local own = redis.call('ZCOUNT', line, '-inf', score + window_us) - 1
  -- Later jobs of its own key may bring others more turns, as long as they come within the window;
  -- and while a low priority holds it back, all others may pass.
  local turns = score + window_us > now_us() and others or keys * (own + 2)
  return { rank + math.min(others, keys * rank + before), own + math.min(others, turns), 0, service }
end

local function rate_key(model, minutes_ago)
  return P .. ':rate:' .. model .. ':' .. math.floor(now() / 60000) - minutes_ago
end

local function count(model, what)
  redis.call('HINCRBY', rate_key(model, 0), what, 1)
  redis.call('EXPIRE', rate_key(model, 0), 900)
end

-- Adds to what there was of a base: jobs as 'status code', leases 'lost', 'pictures' and 'gpu_ms'.
local function sum_up(model, what, amount)
  redis.call('HINCRBY', P .. ':totals:' .. model, what, amount)
end

local function push_ticket(queue, message)
  if queue ~= '' then redis.call('LPUSH', queue, message) end
end

local function hooks_key(host) return P .. ':hooks:' .. host end
local function sending_key(host) return P .. ':sending:' .. host end

-- The only ways into and out of the outbox.
local function plan(d, host, due)
  redis.call('ZADD', P .. ':outbox', due, d)
  redis.call('ZADD', hooks_key(host), due, d)
  set_head(hooks_key(host), P .. ':hosts', host, NEVER)
end

local function unplan(d, host)
  redis.call('ZREM', P .. ':outbox', d)
  redis.call('ZREM', hooks_key(host), d)
  redis.call('ZREM', sending_key(host), d)
  set_head(hooks_key(host), P .. ':hosts', host, NEVER)
end

-- Gives one to a courier, until then.
local function lend(d, host, until_ms)
  plan(d, host, until_ms)
  redis.call('ZADD', sending_key(host), until_ms, d)
end

local function forget(d, id)
  redis.call('DEL', P .. ':delivery:' .. d, P .. ':tries:' .. d)
  redis.call('LREM', P .. ':undelivered', 0, d)
  redis.call('ZREM', P .. ':deliveries:' .. id, d)
end

-- Puts a webhook into the outbox if the job asked for this event; `suffix` tells several apart.
local function announce(id, name, suffix)
  local hook = redis.call('HGET', job_key(id), 'webhook')
  if not hook or hook == '' then return false end
  hook = cjson.decode(hook)
  for _, wanted in ipairs(hook.events) do
    if wanted == name then
      local d, t = id .. '.' .. name .. suffix, now()
      local host = string.lower(string.match(hook.url, '^%a+://([^/?#]*)'))
      redis.call('HSET', P .. ':delivery:' .. d, 'job', id, 'url', hook.url, 'host', host,
        'event', 'job.' .. name, 'tries', 0, 'status', 'pending')
      redis.call('ZADD', P .. ':deliveries:' .. id, t, d)
      plan(d, host, t)
      return true
    end
  end
  return false
end

-- The one way into a terminal state: state, outbox and event in the same step.
local function terminate(id, status, error_json, detail)
  local job = job_key(id)
  local r = redis.call('HMGET', job, 'retention_ms', 'model', 'status', 'worker')
  if r[3] == 'running' then mark(r[4], status, id, detail or '') end
  if status == 'failed' then latest('failed', id) end
  redis.call('HSET', job, 'status', status, 'completed_ms', now(), 'stage', '')
  if error_json ~= '' then redis.call('HSET', job, 'error', error_json) end
  redis.call('ZREM', P .. ':leases', id)
  redis.call('ZREM', P .. ':delayed', id)
  redis.call('ZREM', P .. ':deadlines', id)
  dequeue(id)
  count(r[2], 'ended')
  sum_up(r[2], status .. ' ' .. (error_json ~= '' and cjson.decode(error_json).code or ''), 1)
  redis.call('ZADD', P .. ':kept', now() + tonumber(r[1]), id)
  announce(id, status, '')
  event(id, status)
end

-- A running job goes back to its place, or ends when it was asked to stop or has no attempt left.
local function put_back(id, error_json, delay_ms)
  local job = job_key(id)
  local r = redis.call('HMGET', job, 'cancel', 'attempt', 'refunded', 'max_attempts')
  if r[1] == '1' then terminate(id, 'canceled', ''); return 'canceled' end
  if tonumber(r[2]) - tonumber(r[3]) >= tonumber(r[4]) then
    terminate(id, 'failed', error_json)
    return 'failed'
  end
  mark(redis.call('HGET', job, 'worker'), 'queued', id, '')
  redis.call('ZREM', P .. ':leases', id)
  redis.call('HSET', job, 'status', 'queued', 'stage', '', 'step', 0, 'worker', '')
  if delay_ms > 0 then
    redis.call('ZADD', P .. ':delayed', now() + delay_ms, id)
  else
    enqueue(id)
  end
  event(id, 'queued')
  return 'queued'
end

-- True while this attempt owns the job: the fence that every write of a worker passes; then its
-- stage and its worker.
local function owns(id, attempt)
  local r = redis.call('HMGET', job_key(id), 'status', 'attempt', 'stage', 'worker')
  return r[1] == 'running' and r[2] == attempt, r[3], r[4]
end
