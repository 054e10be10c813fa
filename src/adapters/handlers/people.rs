//! `PeopleService`.

use std::time::SystemTime;

use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Api, caller, invalid, timestamp};
use crate::adapters::pages;
use crate::people;
use crate::spec::error::ApiError;
use crate::spec::v1::people_service_server::PeopleService;
use crate::spec::v1::{
    InviteMemberRequest, InviteMemberResponse, ListMembersRequest, ListMembersResponse, Member,
    RemoveMemberRequest, SetMemberRoleRequest,
};

#[tonic::async_trait]
impl PeopleService for Api {
    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let caller = caller(&request)?;
        let members = self.people.members(caller.account_id()).await;
        let members = members.map_err(ApiError::from)?;
        Ok(Response::new(ListMembersResponse {
            members: members.into_iter().map(member_message).collect(),
        }))
    }

    async fn invite_member(
        &self,
        request: Request<InviteMemberRequest>,
    ) -> Result<Response<InviteMemberResponse>, Status> {
        let caller = caller(&request)?;
        caller.may_appoint().map_err(ApiError::from)?;
        let asked = request.into_inner();
        let role = asked.role.parse().map_err(ApiError::from)?;
        let (token, member) = self
            .people
            .invite(caller.account_id(), &asked.email, role, SystemTime::now())
            .await
            .map_err(ApiError::from)?;
        Ok(Response::new(InviteMemberResponse {
            link: pages::invitation_link(&self.public_url, &token),
            member: Some(member_message(member)),
        }))
    }

    async fn set_member_role(
        &self,
        request: Request<SetMemberRoleRequest>,
    ) -> Result<Response<Member>, Status> {
        let caller = caller(&request)?;
        caller.may_appoint().map_err(ApiError::from)?;
        let asked = request.into_inner();
        let role = asked.role.parse().map_err(ApiError::from)?;
        let id = member_id(&asked.id)?;
        self.people
            .set_role(caller.account_id(), id, role)
            .await
            .map_err(ApiError::from)?;
        self.gate.forget();
        let member = self.people.member(caller.account_id(), id).await;
        Ok(Response::new(member_message(
            member.map_err(ApiError::from)?,
        )))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<Member>, Status> {
        let caller = caller(&request)?;
        caller.may_appoint().map_err(ApiError::from)?;
        let id = member_id(&request.get_ref().id)?;
        let member = self.people.member(caller.account_id(), id).await;
        let member = member.map_err(ApiError::from)?;
        self.people
            .remove(caller.account_id(), id)
            .await
            .map_err(ApiError::from)?;
        self.gate.forget();
        Ok(Response::new(member_message(member)))
    }
}

fn member_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(text).map_err(|_| invalid("id", "must be a UUID"))
}

fn member_message(member: people::Member) -> Member {
    Member {
        id: member.id.to_string(),
        email: member.email.unwrap_or_default(),
        role: member.role.name().to_owned(),
        joined_at: member.joined_at.map(timestamp),
        invited_until: member.invited_until.map(timestamp),
    }
}
