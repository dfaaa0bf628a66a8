"""The registry's schema, as migrations that only append (`smx.registry.schema` applies them)."""

from __future__ import annotations

MIGRATIONS: list[tuple[str, str]] = [
    (
        "0001_first",
        """
        create table migrations (
            name text primary key,
            applied text not null
        );

        create table runs (
            fingerprint text primary key,       -- 64 hex digits
            kind text not null check (kind in ('gen', 'train', 'eval')),
            name text not null,                 -- readable part of the folder name
            folder text not null unique,        -- relative to the workspace's runs folder: kind/name-fingerprint8
            variant text,                       -- null for gen
            sampler text,
            frames integer,
            bench text,                         -- eval
            dataset text,                       -- gen: dataset; train: data
            seed integer not null default 0,
            labels text not null default '{}',  -- JSON: untrained, stand_in_for, experiment …
            state text not null default 'new',
            items integer,                      -- how many items the run has
            done integer not null default 0,
            failed integer not null default 0,
            created text not null,              -- ISO 8601 UTC
            updated text not null,
            spec text not null                  -- the frozen spec, canonical JSON; last, because it is long
        ) without rowid;
        create index runs_cell on runs (kind, variant, sampler, frames, bench);
        create index runs_state on runs (state, kind);
        create index runs_created on runs (created);

        create table submissions (
            id text primary key,                -- written before the scheduler is asked
            executor text not null,
            name text not null,                 -- job name: smx-<id>
            job text,                           -- the scheduler's job id or local pid, once known
            script_digest text,
            created text not null,
            answer text                         -- what the scheduler said, verbatim
        ) without rowid;

        create table attempts (
            fingerprint text not null references runs (fingerprint),
            attempt integer not null,           -- 1..n
            submission text references submissions (id),
            executor text not null,
            handle text,                        -- JSON from the executor; null until it answered
            job text,                           -- job id or pid, for people
            state text not null,
            unknown_since text,                 -- a source could not be reached since then
            items integer not null,             -- items this attempt was given
            done integer not null default 0,
            failed integer not null default 0,
            mark text check (mark in ('doubtful', 'excluded')),
            created text not null,
            started text,
            ended text,
            failure text,                       -- JSON {kind, line, evidence}
            provenance text not null default '{}',  -- JSON: git, versions, command, user, host
            primary key (fingerprint, attempt)
        ) without rowid;
        create index attempts_state on attempts (state);
        create index attempts_submission on attempts (submission);
        create index attempts_job on attempts (job);
        create index attempts_mark on attempts (mark) where mark is not null;

        create table shards (
            fingerprint text not null,
            attempt integer not null,
            shard integer not null,
            state text not null,
            host text,
            done integer not null default 0,
            failed integer not null default 0,
            heartbeat text,
            primary key (fingerprint, attempt, shard),
            foreign key (fingerprint, attempt) references attempts (fingerprint, attempt)
        ) without rowid;

        create table scores (
            fingerprint text not null references runs (fingerprint),
            bench text not null,
            scorer text not null,               -- name@version
            metric text not null,               -- 'all.micro', 'acc.macro', 'mra.micro', 'type', 'task'
            task text not null default '',      -- question type or task for metric 'type' / 'task'
            value real,
            n integer not null,
            unparsed integer not null default 0,
            ci_low real,
            ci_high real,
            primary key (fingerprint, bench, scorer, metric, task)
        ) without rowid;

        create table run_inputs (
            fingerprint text not null references runs (fingerprint),
            role text not null,                 -- 'sample_set', 'checkpoint', 'data'
            input text not null,                -- fingerprint of the run it comes from, or a digest
            primary key (fingerprint, role, input)
        ) without rowid;
        create index run_inputs_input on run_inputs (input);

        create table notes (
            fingerprint text not null,
            created text not null,
            author text not null default '',
            text text not null,
            primary key (fingerprint, created, text)
        ) without rowid;

        create table tags (
            fingerprint text not null,
            tag text not null,
            primary key (fingerprint, tag)
        ) without rowid;
        create index tags_tag on tags (tag);

        create table imports (                  -- the lab's past: jobs and scores smx did not run
            digest text primary key,            -- of source and entry: importing twice changes nothing
            file text not null,                 -- its name in experiments/history
            source text not null,               -- where the facts come from, in words
            position integer not null,          -- order in the file
            what text not null check (what in ('job', 'score')),
            date text,
            kind text,
            variant text,
            detail text,                        -- what else tells it apart: checkpoint, adapted, input …
            sampler text,
            frames integer,
            bench text,
            dataset text,
            jobs text not null default '[]',    -- JSON list of ids, the one that counts first
            mark text,
            note text,
            failure text,
            scorer text,
            metric text,
            task text,
            value real,
            n integer,
            entry text not null                 -- the whole entry, JSON
        ) without rowid;
        """,
    ),
    (
        "0002_views",
        """
        -- runs that count in no table: an attempt is excluded and no other one is done
        create view excluded_runs as
        select distinct fingerprint from attempts a
        where mark = 'excluded' and not exists (
            select 1 from attempts b
            where b.fingerprint = a.fingerprint and b.state = 'done' and b.mark is not 'excluded');

        -- runs whose counting attempt (the latest done one that is not excluded) is doubtful
        create view doubtful_runs as
        select fingerprint from attempts a
        where mark = 'doubtful' and state = 'done' and not exists (
            select 1 from attempts b
            where b.fingerprint = a.fingerprint and b.attempt > a.attempt
              and b.state = 'done' and b.mark is not 'excluded');

        -- the notes' view: newest day first, one row per cell, its job ids newest first
        -- (?id doubtful, xid failed or excluded)
        create view ledger as
        select date, mark, kind, variant, detail, sampler, frames, bench, dataset, jobs, items, done, failed,
               note, failure, run, origin, fingerprint
        from (
            select
                date(at, 'localtime') as date, at, 0 as position,
                case when fingerprint in (select fingerprint from excluded_runs) then 'excluded'
                     when fingerprint in (select fingerprint from doubtful_runs) then 'doubtful'
                     else state end as mark,
                kind, variant,
                nullif(trim(case when json_extract(labels, '$.untrained') then 'untrained ' else '' end
                            || case when json_extract(labels, '$.stand_in_for') is not null
                                    then 'stand-in ' else '' end
                            || case when seed <> 0 then 'seed ' || seed else '' end), '') as detail,
                sampler, frames, bench, dataset,
                (select group_concat(id, ' ') from (
                    select case when a.mark = 'doubtful' then '?'
                                when a.mark = 'excluded' or a.state in ('failed', 'cancelled', 'preempted', 'lost')
                                then 'x' else '' end || coalesce(a.job, '#' || a.attempt) as id
                    from attempts a where a.fingerprint = r.fingerprint order by a.attempt desc)) as jobs,
                items, done, failed,
                (select group_concat(text, '; ') from (
                    select text from notes t where t.fingerprint = r.fingerprint order by t.created)) as note,
                case when state not in ('done', 'running', 'pending', 'waiting') then
                    (select json_extract(a.failure, '$.line') from attempts a
                     where a.fingerprint = r.fingerprint order by a.attempt desc limit 1) end as failure,
                substr(folder, instr(folder, '/') + 1) as run, 'run' as origin, fingerprint
            from (select *, coalesce((select max(a.created) from attempts a
                                      where a.fingerprint = runs.fingerprint), created) as at from runs) r
            union all
            select
                date, date as at, position, mark, kind, variant, detail, sampler, frames, bench, dataset,
                (select group_concat(value, ' ') from (select value from json_each(i.jobs) order by key)),
                null, null, null, note, failure, null, 'imported', null
            from imports i where what = 'job'
        )
        order by date desc, origin desc, at desc, position;

        -- every score that counts, with the cell it belongs to
        create view score_table as
        select
            r.kind, r.variant, r.sampler, r.frames, s.bench, r.dataset, r.seed, s.scorer, s.metric, s.task,
            s.value, s.n, s.unparsed, s.ci_low, s.ci_high,
            r.state, r.items, r.done, r.failed, r.labels,
            s.fingerprint in (select fingerprint from doubtful_runs) as doubtful,
            'run' as origin, s.fingerprint, r.created
        from runs r join scores s on s.fingerprint = r.fingerprint
        where s.fingerprint not in (select fingerprint from excluded_runs)
        union all
        select
            coalesce(kind, 'eval'), variant, sampler, frames, bench, dataset, 0, coalesce(scorer, ''), metric,
            coalesce(task, ''), value, n, 0, null, null,
            'done', n, n, 0, '{}', mark is 'doubtful', 'imported', null, date
        from imports where what = 'score' and mark is not 'excluded';
        """,
    ),
    (
        "0003_reason",
        """
        alter table attempts add column reason text;  -- why a live attempt waits, in words
        """,
    ),
    (
        "0004_usage",
        """
        alter table attempts add column resources text not null default '{}';  -- JSON: what each shard asked for
        alter table attempts add column usage text;  -- JSON: hours, GPUs, memory; null while it is live
        """,
    ),
    (
        "0005_floor",
        """
        alter table scores add column floor real;     -- of always giving each type's most frequent true answer
        alter table scores add column gain_low real;  -- lower end of the 95 % interval of value - floor
        alter table scores add column usual text;     -- that answer, where the score is of one type
        create index scores_at_floor on scores (fingerprint, scorer, task)
            where metric = 'type' and gain_low <= 0;  -- few, and every report names them
        drop view score_table;

        -- every score that counts, with the cell it belongs to and the part of its bench that was asked
        create view score_table as
        select
            r.kind, r.variant, r.sampler, r.frames, s.bench, r.dataset, r.seed, s.scorer, s.metric, s.task,
            s.value, s.n, s.unparsed, s.ci_low, s.ci_high,
            r.state, r.items, r.done, r.failed, r.labels,
            s.fingerprint in (select fingerprint from doubtful_runs) as doubtful,
            'run' as origin, s.fingerprint, r.created, s.floor, s.gain_low, s.usual,
            json_extract(r.spec, '$.bench_options.subset') as subset,
            nullif(json_extract(r.spec, '$.bench_options.where'), '{}') as filters
        from runs r join scores s on s.fingerprint = r.fingerprint
        where s.fingerprint not in (select fingerprint from excluded_runs)
        union all
        select
            coalesce(kind, 'eval'), variant, sampler, frames, bench, dataset, 0, coalesce(scorer, ''), metric,
            coalesce(task, ''), value, n, 0, null, null,
            'done', n, n, 0, '{}', mark is 'doubtful', 'imported', null, date, null, null, null, null, null
        from imports where what = 'score' and mark is not 'excluded';
        """,
    ),
    (
        "0006_typed_columns",
        """
        -- an smx that keeps its migrations in this table sees by this row that a newer one was here
        insert into migrations values ('0006_typed_columns', 'see _sqlite_migrations');

        drop view score_table;
        drop index scores_at_floor;
        alter table scores rename column floor to majority_score;
        alter table scores rename column gain_low to majority_gain_low;
        alter table scores rename column usual to majority_answer;
        create index scores_at_majority on scores (fingerprint, scorer, task)
            where metric = 'type' and majority_gain_low <= 0;  -- few, and every report names them

        alter table attempts add column canary integer not null default 0;  -- its first items went before all others

        -- what kind of run it is: read from its spec when the row is written (smx.registry.spec_columns)
        alter table runs add column blind integer not null default 0;
        alter table runs add column input text;                     -- eval: 'video', 'frames'
        alter table runs add column frame_order text;               -- eval: 'given', 'reversed', 'shuffled'
        alter table runs add column imported integer not null default 0;  -- another tool chose its frames
        alter table runs add column base text;                      -- base model of the variant
        alter table runs add column subset text;                    -- part of the bench by name; null: none named
        alter table runs add column where_filter text;              -- part of the bench by its fields, JSON; null: all
        alter table runs add column question_file text;             -- the bench's questions, where a file was named
        alter table runs add column seedless text;                  -- digest of the spec without its seed
        alter table runs add column untrained integer
            generated always as (coalesce(json_extract(labels, '$.untrained'), 0)) virtual;
        update runs set
            blind = spec_column(spec, 'blind'), input = spec_column(spec, 'input'),
            frame_order = spec_column(spec, 'frame_order'), imported = spec_column(spec, 'imported'),
            base = spec_column(spec, 'base'), subset = spec_column(spec, 'subset'),
            where_filter = spec_column(spec, 'where_filter'), question_file = spec_column(spec, 'question_file'),
            seedless = spec_column(spec, 'seedless');

        -- every score that counts, with the cell it belongs to and what kind of run it is of
        create view score_table as
        select
            r.kind, r.variant, r.sampler, r.frames, s.bench, r.dataset, r.seed, s.scorer, s.metric, s.task,
            s.value, s.n, s.unparsed, s.ci_low, s.ci_high,
            r.state, r.items, r.done, r.failed, r.labels,
            s.fingerprint in (select fingerprint from doubtful_runs) as doubtful,
            'run' as origin, s.fingerprint, r.created, s.majority_score, s.majority_gain_low, s.majority_answer,
            r.blind, r.input, r.frame_order, r.imported, r.base, r.subset, r.where_filter, r.question_file,
            r.untrained, r.seedless
        from runs r join scores s on s.fingerprint = r.fingerprint
        where s.fingerprint not in (select fingerprint from excluded_runs)
        union all
        select
            coalesce(kind, 'eval'), variant, sampler, frames, bench, dataset, 0, coalesce(scorer, ''), metric,
            coalesce(task, ''), value, n, 0, null, null,
            'done', n, n, 0, '{}', mark is 'doubtful', 'imported', null, date, null, null, null,
            0, null, null, 0, null, null, null, null, 0, null
        from imports where what = 'score' and mark is not 'excluded';
        """,
    ),
    (
        "0007_cut",
        """
        alter table scores add column cut integer;  -- answers that ended at max_new_tokens; null: not counted
        drop view score_table;

        -- every score that counts, with the cell it belongs to and how many of its answers were cut
        create view score_table as
        select
            r.kind, r.variant, r.sampler, r.frames, s.bench, r.dataset, r.seed, s.scorer, s.metric, s.task,
            s.value, s.n, s.unparsed, s.ci_low, s.ci_high,
            r.state, r.items, r.done, r.failed, r.labels,
            s.fingerprint in (select fingerprint from doubtful_runs) as doubtful,
            'run' as origin, s.fingerprint, r.created, s.majority_score, s.majority_gain_low, s.majority_answer,
            r.blind, r.input, r.frame_order, r.imported, r.base, r.subset, r.where_filter, r.question_file,
            r.untrained, r.seedless, s.cut
        from runs r join scores s on s.fingerprint = r.fingerprint
        where s.fingerprint not in (select fingerprint from excluded_runs)
        union all
        select
            coalesce(kind, 'eval'), variant, sampler, frames, bench, dataset, 0, coalesce(scorer, ''), metric,
            coalesce(task, ''), value, n, 0, null, null,
            'done', n, n, 0, '{}', mark is 'doubtful', 'imported', null, date, null, null, null,
            0, null, null, 0, null, null, null, null, 0, null, null
        from imports where what = 'score' and mark is not 'excluded';
        """,
    ),
]
