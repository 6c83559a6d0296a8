-- Instalments of ledger loans in every version of their schedule, and the month from which features may use each.
-- `month_on` is the month in which the schedule version begins. A corrected instalment no longer counts from
-- `gone_month` on, the month from which features may use the correction; an instalment that never counted is left out.
-- A payment first covers the part of an instalment that is not principal; if the parts are not given, the whole
-- instalment is principal.
with dated as (
    select
        schedules.*,
        loans.loan_no,
        greatest(schedules.valid_from, loans.opened_on) as begins_on,
        {{ visible_month(
            'greatest(schedules.valid_from, loans.opened_on)',
            'greatest(schedules.known_on, loans.known_on)',
            'loans.source',
        ) }} as visible_month,
        case
            when schedules.superseded_on is not null
                then {{ visible_month(
                    'greatest(schedules.valid_from, loans.opened_on)',
                    'greatest(schedules.superseded_on, loans.known_on)',
                    'loans.source',
                ) }}
        end as gone_month
    from {{ ref('stg_schedules') }} as schedules
    inner join {{ ref('int_ledger_loans') }} as loans
        on schedules.source = loans.source and schedules.loan_id = loans.loan_id
)

select
    loan_no,
    valid_from,
    instalment_no,
    due_on,
    amount,
    cast({{ clip("coalesce(principal, amount - interest, amount)", "0", "amount") }} as decimal(18, 2)) as principal,
    principal is not null or interest is not null as has_parts,
    last_day(begins_on) as month_on,
    visible_month,
    gone_month
from dated
where gone_month is null or gone_month > visible_month
