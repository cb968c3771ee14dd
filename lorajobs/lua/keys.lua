-- Shared head of every script: the key schema and the moves that several verbs make.
-- ARGV[1] is always the prefix P. Times are milliseconds of this server's clock; scores are
-- microseconds, so that jobs of one millisecond keep their order.
--
--   P:job:<id>         HASH    the record: status, model, spec, attempt, cancel, … (JSON values)
--   P:jobs             ZSET    id -> created_ms        every job, for listing
--   P:models           SET     base models ever submitted to
--   P:waiting:<model>  ZSET    id -> score_us          jobs a worker may claim, smallest first
--   P:group:<model>:<g> ZSET   id -> score_us          those of them that need the adapters g
--   P:heads:<model>    ZSET    g -> score_us           of the oldest job of each group that waits
--   P:loaded:<model>   HASH    worker -> g             what each worker took last
--   P:delayed          ZSET    id -> ready_ms          jobs backing off before their next attempt
--   P:leases           ZSET    id -> expiry_ms         running jobs
--   P:claim:<worker>   HASH    ticket, job, attempt    the last claim, for a lost reply
--   P:deadlines        ZSET    id -> ms                when a job that has not started expires
--   P:kept             ZSET    id -> ms                when an ended job is erased
--   P:service:<model>  HASH    ms                      running mean of a job's time on a worker
--   P:events:<id>      STREAM  what happened to the job, for live listeners
--   P:outbox           ZSET    delivery -> due_ms      webhooks to send
--   P:delivery:<d>     HASH    job, url, event, tries
--   P:worker:<name>    STRING  what a live worker says of itself (JSON, expires)
--   P:workers          SET     names of workers that ever spoke
--   P:loras            HASH    id -> adapter record (lorajobs/adapters/registry.py)
--   P:secret           STRING  made-up webhook secret, if none is configured

local P = ARGV[1]
local EVENTS_KEPT, EVENTS_TTL_S = 256, 86400

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function job_key(id) return P .. ':job:' .. id end
local function waiting_key(model) return P .. ':waiting:' .. model end
local function group_key(model, group) return P .. ':group:' .. model .. ':' .. group end
local function heads_key(model) return P .. ':heads:' .. model end

local function event(id, kind, ...)
  redis.call('XADD', P .. ':events:' .. id, 'MAXLEN', '~', EVENTS_KEPT, '*', 'event', kind, ...)
  redis.call('EXPIRE', P .. ':events:' .. id, EVENTS_TTL_S)
end

-- The only ways into and out of the waiting index.
local function set_head(model, group)
  local head = redis.call('ZRANGE', group_key(model, group), 0, 0, 'WITHSCORES')
  if head[1] then
    redis.call('ZADD', heads_key(model), head[2], group)
  else
    redis.call('ZREM', heads_key(model), group)
  end
end

local function enqueue(id)
  local r = redis.call('HMGET', job_key(id), 'model', 'group', 'score_us')
  redis.call('ZADD', waiting_key(r[1]), r[3], id)
  redis.call('ZADD', group_key(r[1], r[2]), r[3], id)
  set_head(r[1], r[2])
end

local function dequeue(id)
  local r = redis.call('HMGET', job_key(id), 'model', 'group')
  if not r[1] or redis.call('ZREM', waiting_key(r[1]), id) == 0 then return false end
  redis.call('ZREM', group_key(r[1], r[2]), id)
  set_head(r[1], r[2])
  return true
end

local function push_ticket(queue, message)
  if queue ~= '' then redis.call('LPUSH', queue, message) end
end

-- The one way into a terminal state: state, outbox and event in the same step.
local function terminate(id, status, error_json)
  local job = job_key(id)
  redis.call('HSET', job, 'status', status, 'completed_ms', now(), 'stage', '')
  if error_json ~= '' then redis.call('HSET', job, 'error', error_json) end
  redis.call('ZREM', P .. ':leases', id)
  redis.call('ZREM', P .. ':delayed', id)
  redis.call('ZREM', P .. ':deadlines', id)
  dequeue(id)
  local r = redis.call('HMGET', job, 'retention_ms')
  redis.call('ZADD', P .. ':kept', now() + tonumber(r[1]), id)
  local url = redis.call('HGET', job, 'webhook')
  if url and url ~= '' then
    local delivery = id .. '.' .. status
    redis.call('HSET', P .. ':delivery:' .. delivery,
      'job', id, 'url', url, 'event', 'job.' .. status, 'tries', 0)
    redis.call('ZADD', P .. ':outbox', now(), delivery)
  end
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

-- True while this attempt owns the job: the fence that every write of a worker passes.
local function owns(id, attempt)
  local r = redis.call('HMGET', job_key(id), 'status', 'attempt')
  return r[1] == 'running' and r[2] == attempt
end
