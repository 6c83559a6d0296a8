-- Instalments of known loans of ledger sources in every version of their schedule, and the month from which a feature
-- may use each. `month_on` is the month in which the version begins to hold. An instalment that was corrected counts no
-- more from `gone_month` on, the month from which a feature may use the correction; one that never counted is left out.
-- What is not principal is served first; where neither part is told all of it is principal.
with dated as (
    select
        i.*,
        l.loan_no,
        greatest(i.valid_from, l.opened_on) as begins_on,
        {{ visible_month('greatest(i.valid_from, l.opened_on)', 'greatest(i.known_on, l.known_on)', 'l.source') }} as visible_month,
        case
            when i.superseded_on is not null
                then {{ visible_month('greatest(i.valid_from, l.opened_on)', 'greatest(i.superseded_on, l.known_on)', 'l.source') }}
        end as gone_month
    from {{ ref('stg_schedules') }} as i
    inner join {{ ref('int_ledger_loans') }} as l on i.source = l.source and i.loan_id = l.loan_id
)

select
    loan_no,
    valid_from,
    instalment_no,
    due_on,
    amount,
    cast({{ clip("coalesce(principal, amount - interest, amount)", "0", "amount") }} as decimal(18, 2)) as principal,
    principal is not null or interest is not null as is_told,
    last_day(begins_on) as month_on,
    visible_month,
    gone_month
from dated
where gone_month is null or gone_month > visible_month
